"""What the scripts do, in nine wings; each imports only those before it.

system, metrics, pictures, records, recognition, training, evaluation, reports, search: tests/test_arrows.py.
"""
