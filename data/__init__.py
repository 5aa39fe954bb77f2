"""Where images come from: CIFAR-10, read safely and fetched when it isn't there, and the built-in Shapes10."""
