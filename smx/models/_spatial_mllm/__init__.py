"""Spatial-MLLM: Qwen2.5-VL with VGGT's features."""
