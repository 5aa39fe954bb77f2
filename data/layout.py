"""What CIFAR-10 consists of: names and sizes.

CIFAR-10 (A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009) holds 50,000 training and
10,000 test images of ten classes, 3 x 32 x 32 pixels. Its Python version is a folder of six pickles:
https://www.cs.toronto.edu/~kriz/cifar.html describes them.
"""

CLASS_NAMES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')
N_CLASSES = len(CLASS_NAMES)
IMAGE_SHAPE = (3, 32, 32)
N_PIXELS = 3 * 32 * 32
FOLDER = 'cifar-10-batches-py'
TRAIN_FILES = tuple(f'data_batch_{i}' for i in range(1, 6))
TEST_FILE = 'test_batch'


class DataError(Exception):
    """The data set is missing, broken or out of reach; the message names the file and the remedy."""
