"""Qwen3-VL with smx's own positions."""
