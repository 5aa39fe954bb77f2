"""Where images come from.

layout      what CIFAR-10 consists of: names and sizes
cifar10     CIFAR-10 read from a folder of batches
pickles     a batch file, read without running anything that it names
download    CIFAR-10 from one of its mirrors, accepted by its MD5 alone
shapes10    the built-in set, drawn from a seed
"""
