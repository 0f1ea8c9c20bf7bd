"""The Open Inference Protocol, version 2: tensors in, tensors out (kserve, docs/predict-api/v2/required_api.md)."""
