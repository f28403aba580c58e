"""
Getting started
===============

A first network.
"""

import fastnn

X, y = fastnn.datasets.digits()
print(X.shape)
