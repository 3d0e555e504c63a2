"""`mxjax plan`: whether a run fits a slice, and its best speed.

Both are known before any chip is rented.
"""
