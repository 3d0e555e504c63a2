"""`mxjax plan`: whether a run fits a slice, and its speed at best.

Known before a chip is rented.
"""
