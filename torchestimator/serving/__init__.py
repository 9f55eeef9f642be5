"""A small server for exports: Open Inference Protocol v2 and TensorFlow Serving's REST, on ONNX Runtime.

For development and for services that fit on one machine. Needs `pip install torchestimator[serve]`, which
`torchestimator serve` says where it is missing; nothing else of the package imports it.
"""
