"""Rules for scalar machines without caches: microcontrollers."""
