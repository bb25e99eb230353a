"""From a float ONNX model to one whose layers compute in 8-bit integers, as ONNX again."""
