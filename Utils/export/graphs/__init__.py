"""Export as graphs of ONNX, the Open Neural Network Exchange, which run without torch.

A graph is written from an export's draft, operation by operation, not by torch's exporter. So it holds what the draft
holds and nothing else: no dead units, no masks. It depends on no version of torch, and a bag of words is five
operations where the exporter writes a loop.
"""
