"""From an ONNX file as users have it to a checked `Model` with static shapes."""
