"""Compares nori_lsm with the embedded stores a Python programmer can install: python -m benchmarks"""
