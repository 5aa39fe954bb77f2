"""Reading, checking, normalising and batching CIFAR-10."""

import fractions
import hashlib
import os
import pickle
import pickletools
import subprocess
import sys
from pathlib import Path

import batches
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cifar10_utils
from cifar10_utils import DataError, DataSet

ROOT = Path(cifar10_utils.__file__).parent
CANONICAL = ROOT / 'cifar10' / 'cifar-10-batches-py'


@pytest.fixture
def raw():
    """X_train (50 images), Y_train, X_test (8 images), Y_test."""
    rng = np.random.default_rng(1)
    X, Y = rng.integers(0, 256, (58, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, 58)
    return X[:50], Y[:50], X[50:], Y[50:]


def numbered(n, **kwargs):
    """A data set whose image i has the pixel i everywhere, so that a batch tells its rows."""
    images = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, 3, 32, 32))
    return DataSet(images, np.arange(n) % 10, np.zeros((3, 32, 32), np.float32), **kwargs)


def rows(batch):
    return batch[0][:, 0, 0, 0].astype(int).tolist()


# Reading


def test_folder_is_read_as_it_was_written(tmp_path):
    written = batches.write_folder(tmp_path)
    for read, expected in zip(cifar10_utils.load_cifar10(tmp_path), written, strict=True):
        np.testing.assert_array_equal(read, expected)
    X_train, Y_train, X_test, Y_test = cifar10_utils.get_cifar10_raw_data(str(tmp_path))
    assert (X_train.dtype, Y_train.dtype, X_test.dtype, Y_test.dtype) == (np.uint8, np.int64, np.uint8, np.int64)
    assert X_train.flags.c_contiguous and X_train.flags.writeable and X_test.flags.writeable


@pytest.mark.parametrize('protocol', [2, 3, 4])
@pytest.mark.parametrize('key', [str, str.encode])
@pytest.mark.parametrize('n', [1, 2, 300, 2500])
def test_batches_written_by_python_3(tmp_path, protocol, key, n):
    pixels, labels = batches.random_batch(n, np.random.default_rng(n))
    (tmp_path / 'batch').write_bytes(pickle.dumps({key('data'): pixels, key('labels'): labels}, protocol))
    X, Y = cifar10_utils.load_cifar10_batch(tmp_path / 'batch')
    np.testing.assert_array_equal(X.reshape(n, 3072), pixels)
    assert Y.tolist() == labels


def test_batch_written_by_python_2(tmp_path):
    # The opcodes of the real files: module numpy.core.multiarray, byte strings for keys, labels and pixels.
    pixels = bytes(range(256)) * 12
    (tmp_path / 'batch').write_bytes(
        b'\x80\x02}q\x01(U\x06labelsq\x02]q\x03K\x07aU\x04dataq\x04cnumpy.core.multiarray\n_reconstruct\nq\x05'
        b'cnumpy\nndarray\nq\x06K\x00\x85U\x01b\x87Rq\x07(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nq\x08U\x02u1K\x00K\x01\x87R'
        b'q\x09(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x00\x0c\x00\x00' + pixels + b'tbu.'
    )
    X, Y = cifar10_utils.load_cifar10_batch(tmp_path / 'batch')
    assert X.shape == (1, 3, 32, 32) and X.tobytes() == pixels and Y.tolist() == [7]


@pytest.mark.skipif(not CANONICAL.is_dir(), reason='CIFAR-10 is not here')
def test_the_real_cifar10():
    X_train, Y_train, X_test, Y_test = cifar10_utils.load_cifar10(CANONICAL)
    assert X_train.shape == (50000, 3, 32, 32) and X_test.shape == (10000, 3, 32, 32)
    assert np.bincount(Y_train).tolist() == [5000] * 10 and np.bincount(Y_test).tolist() == [1000] * 10
    # The longest string that pickletools finds in the file, without unpickling it, is the pixels.
    opcodes = pickletools.genops((CANONICAL / 'test_batch').read_bytes())
    pixels = max((argument for _, argument, _ in opcodes if isinstance(argument, str)), key=len)
    assert hashlib.md5(X_test.tobytes()).digest() == hashlib.md5(pixels.encode('latin1')).digest()


def test_numpy_scripts_import_no_torch():
    code = (
        'import sys, cifar10_utils; sys.exit(bool({"torch", "torchvision", "tqdm", "matplotlib"} & set(sys.modules)))'
    )
    assert subprocess.run([sys.executable, '-c', code], cwd=ROOT).returncode == 0


# Broken files and folders


def load_bytes(folder, data):
    path = folder / 'batch'
    path.write_bytes(data)
    return cifar10_utils.load_cifar10_batch(path)


def assert_one_helpful_line(error, path):
    message = str(error.value)
    assert str(path) in message and '--data_dir' in message and '\n' not in message


@pytest.mark.parametrize('name', batches.FILES)
def test_missing_or_truncated_file_is_named_with_the_remedy(tmp_path, name):
    batches.write_folder(tmp_path)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError) as error:
        cifar10_utils.get_cifar10(tmp_path)
    assert_one_helpful_line(error, tmp_path / name)
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match='is missing') as error:
        cifar10_utils.get_cifar10(tmp_path)
    assert_one_helpful_line(error, tmp_path / name)


def test_wrong_folder_is_told_what_to_pass(tmp_path):
    batches.write_folder(tmp_path / 'cifar-10-batches-py')
    with pytest.raises(DataError) as error:
        cifar10_utils.get_cifar10(tmp_path)
    assert str(error.value).endswith(f'--data_dir {tmp_path / "cifar-10-batches-py"}')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'file').touch()
    for name in ('empty', 'file'):
        with pytest.raises(DataError, match='holds no CIFAR-10') as error:
            cifar10_utils.get_cifar10(tmp_path / name)
        assert_one_helpful_line(error, tmp_path / name)


def test_file_too_large_for_a_batch_is_not_read(tmp_path):
    with open(tmp_path / 'batch', 'wb') as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(DataError, match='more than any CIFAR-10 batch') as error:
        cifar10_utils.load_cifar10_batch(tmp_path / 'batch')
    assert_one_helpful_line(error, tmp_path / 'batch')


PIXELS = np.zeros((2, 3072), np.uint8)


@pytest.mark.parametrize(
    ('batch', 'reason'),
    [
        ({b'labels': [0, 1]}, "'data'"),
        ({b'data': PIXELS}, "'labels'"),
        ({b'data': PIXELS, b'fine_labels': [0, 1]}, "'labels'"),  # CIFAR-100
        ({b'data': PIXELS.astype(np.float32), b'labels': [0, 1]}, "'data'"),
        ({b'data': PIXELS.astype(np.int8), b'labels': [0, 1]}, "'data'"),
        ({b'data': PIXELS[:, :-1], b'labels': [0, 1]}, "'data'"),
        ({b'data': PIXELS[:0], b'labels': []}, "'data'"),
        ({b'data': PIXELS.reshape(2, 3, 1024), b'labels': [0, 1]}, "'data'"),
        ({b'data': np.asfortranarray(PIXELS), b'labels': [0, 1]}, "'data'"),
        ({b'data': PIXELS.tobytes(), b'labels': [0, 1]}, "'data'"),
        ({b'data': PIXELS, b'labels': [0]}, "'labels'"),
        ({b'data': PIXELS, b'labels': [0, 1, 2]}, "'labels'"),
        ({b'data': PIXELS, b'labels': (0, 1)}, "'labels'"),
        ({b'data': PIXELS, b'labels': [0, 10]}, "'labels'"),
        ({b'data': PIXELS, b'labels': [0, -1]}, "'labels'"),
        ({b'data': PIXELS, b'labels': [0, True]}, "'labels'"),
        ({b'data': PIXELS, b'labels': [0, None]}, "'labels'"),
        ([PIXELS, [0, 1]], 'dictionary'),
        (None, 'dictionary'),
        ({(0, 1): PIXELS}, 'key'),
        ({b'data': PIXELS, b'labels': {0, 1}}, 'opcode'),
    ],
)
def test_anything_but_a_batch_is_refused(tmp_path, batch, reason):
    with pytest.raises(DataError, match=reason) as error:
        load_bytes(tmp_path, pickle.dumps(batch, protocol=4))
    assert_one_helpful_line(error, tmp_path / 'batch')


def test_shape_that_disagrees_with_the_pixels_is_refused(tmp_path):
    data = batches.batch_bytes(PIXELS, [0, 1])
    assert data.count(b'K\x02M\x00\x0c\x86') == 1
    with pytest.raises(DataError, match="'data'"):
        load_bytes(tmp_path, data.replace(b'K\x02M\x00\x0c\x86', b'K\x03M\x00\x0c\x86'))


class Call:
    """Pickles as a call of `function(*args)`."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def hostile_pickles(command):
    """Pickles that run a shell command under pickle.loads, or would with one more step, by every way there is."""
    text = command.encode()
    unicode = b'X' + len(text).to_bytes(4, 'little') + text
    for protocol in range(6):
        yield pickle.dumps(Call(os.system, command), protocol)
        yield batches.batch_bytes(Call(os.system, command), [0, 1], protocol=protocol)
        yield batches.batch_bytes(
            PIXELS, [0, 1], protocol=protocol, more=Call(eval, f'__import__("os").system({command!r})')
        )
    yield b'cposix\nsystem\n(' + unicode + b'tR.'  # GLOBAL, REDUCE
    yield b'\x80\x04\x8c\x05posix\x8c\x06system\x93(' + unicode + b'tR.'  # STACK_GLOBAL
    yield b'(' + unicode + b'iposix\nsystem\n.'  # INST
    yield b'(cposix\nsystem\n' + unicode + b'o.'  # OBJ
    yield b'\x80\x02csubprocess\nPopen\n(X\x04\x00\x00\x00true\x85t\x81.'  # NEWOBJ
    yield b'\x80\x04\x8c\x0asubprocess\x8c\x05Popen\x93(' + unicode + b't}\x8c\x05shell\x88s\x92.'  # NEWOBJ_EX
    yield b'Pos.system\n.'  # PERSID
    yield unicode + b'Q.'  # BINPERSID
    yield b'\x82\x01.' + unicode  # EXT1
    # __setstate__ or __reduce__ of an admitted class, and attributes of it, set by BUILD
    yield b'cnumpy\ndtype\n}X\x0c\x00\x00\x00__setstate__cposix\nsystem\nsb' + unicode + b'b.'
    yield b'\x80\x02cnumpy\nndarray\n)\x81}X\x0c\x00\x00\x00__setstate__cposix\nsystem\nsb' + unicode + b'b.'
    yield b'cnumpy\ndtype\nN}X\x04\x00\x00\x00namecposix\nsystem\ns\x86b(' + unicode + b'tR.'
    # a dotted name reaches from an admitted module to another
    yield b'\x80\x04\x8c\x05numpy\x8c\x10os.system.__call__\x93(' + unicode + b'tR.'
    yield b'\x80\x04\x8c\x05numpy\x8c\x14testing.rundocs.eval\x93(' + unicode + b'tR.'


def test_hostile_pickles_run_nothing(tmp_path):
    marker = tmp_path / 'marker'
    hostile = list(hostile_pickles(f'touch {marker}'))
    pickle.loads(hostile[0])
    assert marker.exists()  # so a file that gets through would show
    marker.unlink()
    for data in hostile:
        with pytest.raises(DataError):
            load_bytes(tmp_path, data)
        assert not marker.exists(), data


def test_refusal_names_the_function_asked_for(tmp_path):
    with pytest.raises(DataError, match=r"'posix\.system'|'nt\.system'"):
        load_bytes(tmp_path, pickle.dumps(Call(os.system, 'true'), protocol=4))


@pytest.mark.parametrize(
    'data',
    [
        b'\x80\x02]r\xff\xff\xff\x7f.',  # a memo index of 2**31
        b'T\xff\xff\xff\x7f.',  # a string of 2**31 bytes
        b'B\xff\xff\xff\xff.',
        b'\x80\x05\x96\x00\x00\x00\x00\x10\x00\x00\x00.',  # a bytearray of 2**36 bytes
        b'\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.',  # a frame of 2**63 bytes
        b')' * 2**24 + b'.',  # millions of objects in a small file
        b'(' * 2**20 + b'.',
        b')' + b'\x85' * 900 + b'.',  # a tuple nested 900 deep
        b'})' + b''.join(b'q%ch%c\x86' % (i, i) for i in range(200)) + b'Ns.',  # a key that takes 2**200 steps to hash
        b'}(' + b'}' * 500 + b'u.',
    ],
    ids=lambda data: repr(data[:8]),
)
def test_bombs_are_refused(tmp_path, data):
    # A bomb that goes off takes the memory of the machine, or years.
    with pytest.raises(DataError):
        load_bytes(tmp_path, data)


VALID = [batches.batch_bytes(*batches.random_batch(2, np.random.default_rng(0)), protocol=p) for p in (2, 3, 4)]
OPCODES = b''.join(opcode.code.encode('latin1') for opcode in pickletools.opcodes)


def assert_batch_or_data_error(folder, data):
    try:
        X, Y = load_bytes(folder, data)
    except DataError as error:
        assert '\n' not in str(error)
    else:
        assert X.dtype == np.uint8 and X.shape[1:] == (3, 32, 32) and len(X) >= 1
        assert Y.dtype == np.int64 and Y.shape == X.shape[:1] and 0 <= Y.min() <= Y.max() <= 9


# The folder of one test serves all its examples: each overwrites the file.
examples = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@examples
@given(valid=st.sampled_from(VALID), cut=st.integers(0, 7000))
def test_truncated_batches(tmp_path, valid, cut):
    assert_batch_or_data_error(tmp_path, valid[:cut])


@examples
@given(valid=st.sampled_from(VALID), changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4))
def test_damaged_batches(tmp_path, valid, changes):
    # Damage in the first or last 200 bytes, where the structure is; pixels may be anything.
    data = bytearray(valid)
    for where, byte in changes:
        data[where - 200] = byte
    assert_batch_or_data_error(tmp_path, bytes(data))


@examples
@given(data=st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(OPCODES), max_size=60).map(bytes)))
def test_random_files(tmp_path, data):
    assert_batch_or_data_error(tmp_path, data)


# Normalising


def exact_mean_image(images):
    """The mean in exact arithmetic, rounded to float64 and then to float32."""
    sums = images.reshape(len(images), -1).astype(object).sum(axis=0)
    return np.array([float(fractions.Fraction(s, len(images))) for s in sums]).astype(np.float32).reshape(3, 32, 32)


@pytest.mark.parametrize('validation_size', [0, 1, 13, 49])
def test_split_and_mean_image(raw, validation_size):
    X_train, Y_train, X_test, Y_test = raw
    sets = cifar10_utils.make_data_sets(*raw, one_hot=False, validation_size=validation_size)
    assert list(sets) == ['train', 'validation', 'test']
    mean_image = exact_mean_image(X_train[validation_size:])  # the validation part has no say
    for name, X, Y in (
        ('train', X_train[validation_size:], Y_train[validation_size:]),
        ('validation', X_train[:validation_size], Y_train[:validation_size]),
        ('test', X_test, Y_test),
    ):
        assert sets[name].num_examples == len(X)
        assert sets[name].images.dtype == np.float32 and sets[name].images.shape == (len(X), 3, 32, 32)
        np.testing.assert_array_equal(sets[name].images, X.astype(np.float32) - mean_image)
        np.testing.assert_array_equal(sets[name].labels, Y)


def test_every_way_to_the_images_gives_the_same_numbers(raw):
    train, test = (cifar10_utils.make_data_sets(*raw)[name] for name in ('train', 'test'))
    X_train, Y_train, X_test, Y_test = cifar10_utils.preprocess_cifar10_data(*raw)
    assert X_train.dtype == X_test.dtype == np.float32
    np.testing.assert_array_equal(train.images, X_train)
    np.testing.assert_array_equal(test.images, X_test)
    np.testing.assert_array_equal(train.labels.argmax(axis=1), Y_train)
    np.testing.assert_array_equal(test.labels.argmax(axis=1), Y_test)
    x, y = train.next_batch(20)
    np.testing.assert_array_equal(x, X_train[:20])
    np.testing.assert_array_equal(y, train.labels[:20])


def test_standardize_divides_by_the_training_std_of_each_channel(raw):
    X = raw[0][7:].astype(np.float64)
    plain, standard = (cifar10_utils.make_data_sets(*raw, validation_size=7, standardize=s) for s in (False, True))
    std = X.std(axis=(0, 2, 3)).reshape(3, 1, 1)
    for name in plain:
        # two roundings to float32, of std and of the quotient
        np.testing.assert_allclose(standard[name].images, plain[name].images / std, rtol=2e-7, atol=0)
    x, _ = standard['train'].next_batch(5)
    np.testing.assert_array_equal(x, standard['train'].images[:5])


def test_standardize_leaves_a_constant_channel_alone(raw):
    X_train = raw[0].copy()
    X_train[:, 1] = 77
    images = cifar10_utils.make_data_sets(X_train, *raw[1:], standardize=True)['train'].images
    assert (images[:, 1] == 0).all() and np.isfinite(images).all()


def test_pixels_are_kept_as_they_are_and_never_changed(raw):
    before = raw[0].copy()
    train = cifar10_utils.make_data_sets(*raw)['train']
    assert np.shares_memory(train._images, raw[0])
    train.next_batch(10)[0][:] = 0
    train.images[:] = 0
    train.labels[:] = 0
    np.testing.assert_array_equal(raw[0], before)
    assert train.labels.sum() == 50
    train = cifar10_utils.make_data_sets(*raw, one_hot=False)['train']
    for y in (train.labels, train.next_batch(10)[1], next(train.chunks(10))[1]):
        y[:] = 0
    np.testing.assert_array_equal(train.labels, raw[1])


@pytest.mark.parametrize('one_hot', [True, False])
def test_labels(raw, one_hot):
    train = cifar10_utils.make_data_sets(*raw, one_hot=one_hot)['train']
    _, batch_labels = train.next_batch(20)
    _, chunk_labels = next(train.chunks(25))
    expected = np.eye(10, dtype=np.float32)[raw[1]] if one_hot else raw[1].astype(np.int64)
    for labels, n in ((train.labels, 50), (batch_labels, 20), (chunk_labels, 25)):
        assert labels.dtype == expected.dtype
        np.testing.assert_array_equal(labels, expected[:n])


def test_dense_to_one_hot():
    np.testing.assert_array_equal(cifar10_utils.dense_to_one_hot([2, 0], 3), [[0, 0, 1], [1, 0, 0]])
    for labels in ([3], [-1], [[0]], 0):
        with pytest.raises(ValueError, match='expected labels'):
            cifar10_utils.dense_to_one_hot(np.array(labels), 3)


def test_read_data_sets_and_get_cifar10_agree_with_the_folder(tmp_path):
    X_train, _, _, Y_test = batches.write_folder(tmp_path)
    for function in (cifar10_utils.read_data_sets, cifar10_utils.get_cifar10):
        sets = function(str(tmp_path), one_hot=False, validation_size=5)
        assert {name: s.num_examples for name, s in sets.items()} == {'train': 45, 'validation': 5, 'test': 8}
        np.testing.assert_array_equal(
            sets['train'].images, X_train[5:].astype(np.float32) - exact_mean_image(X_train[5:])
        )
        np.testing.assert_array_equal(sets['test'].labels, Y_test)


@pytest.mark.parametrize('validation_size', [-1, 50, 51])
def test_senseless_validation_size(raw, validation_size):
    with pytest.raises(ValueError, match=f'from 0 to 49, got {validation_size}'):
        cifar10_utils.make_data_sets(*raw, validation_size=validation_size)


@pytest.mark.parametrize(
    ('images', 'labels'),
    [
        (np.zeros((2, 3, 32, 32), np.float32), np.zeros(2, int)),
        (np.zeros((2, 32, 32, 3), np.uint8), np.zeros(2, int)),
        (np.zeros((2, 3072), np.uint8), np.zeros(2, int)),
        (np.zeros((2, 3, 32, 32), np.uint8), np.zeros(3, int)),
        (np.zeros((2, 3, 32, 32), np.uint8), np.zeros((2, 10), int)),
        (np.zeros((2, 3, 32, 32), np.uint8), np.zeros(2)),
    ],
)
def test_wrong_arrays(images, labels):
    with pytest.raises(ValueError, match=r'expected .*, got '):
        DataSet(images, labels, np.zeros((3, 32, 32), np.float32))


# The order of batches


def contract_order(n, batch_size):
    """The contract in the plainest words: an endless sequence of (rows of a batch, epochs completed)."""
    order, epochs = list(range(n)), 0
    while True:
        for start in range(0, n - batch_size + 1, batch_size):
            yield order[start : start + batch_size], epochs
        perm = np.arange(n)
        np.random.shuffle(perm)
        order, epochs = [order[i] for i in perm], epochs + 1


@pytest.mark.parametrize(('n', 'batch_size'), [(20, 5), (20, 6), (20, 11), (20, 20), (20, 1), (1, 1), (7, 3)])
def test_order_follows_the_contract(n, batch_size):
    np.random.seed(42)
    contract = contract_order(n, batch_size)
    expected = [next(contract) for _ in range(5 * n)]
    np.random.seed(42)
    data = numbered(n)
    for expected_rows, expected_epochs in expected:
        x, y = data.next_batch(batch_size)
        assert rows((x, y)) == expected_rows and data.epochs_completed == expected_epochs
        assert y.argmax(axis=1).tolist() == [row % 10 for row in expected_rows]


def test_order_with_a_validation_split(raw):
    np.random.seed(3)
    train = cifar10_utils.make_data_sets(*raw, validation_size=8)['train']
    drawn = [train.next_batch(16) for _ in range(9)]
    np.random.seed(3)
    for (x, _), (expected, _) in zip(drawn, contract_order(42, 16), strict=False):
        np.testing.assert_array_equal(x, train.images[expected])


def test_order_when_the_batch_size_changes():
    data = numbered(10)
    assert rows(data.next_batch(np.int64(4))) == [0, 1, 2, 3] and rows(data.next_batch(6)) == [4, 5, 6, 7, 8, 9]
    np.random.seed(0)
    perm = np.random.permutation(10).tolist()
    np.random.seed(0)
    assert rows(data.next_batch(3)) == perm[:3] and data.epochs_completed == 1
    assert rows(data.next_batch(7)) == perm[3:] and data.epochs_completed == 1


@pytest.mark.parametrize('batch_size', [0, -1, 21, 1000])
def test_senseless_batch_size(batch_size):
    with pytest.raises(ValueError, match=f'from 1 to 20 .*got {batch_size}'):
        numbered(20).next_batch(batch_size)


@pytest.mark.parametrize('world_size', [1, 2, 3, 8])
def test_ranks_share_the_batch_of_a_single_process(world_size):
    def run(rank, world_size):
        np.random.seed(5)
        data = numbered(30)
        return [rows(data.next_batch(8, rank, world_size)) for _ in range(12)]

    shares = [run(rank, world_size) for rank in range(world_size)]
    for batch, *parts in zip(run(0, 1), *shares, strict=True):
        assert [batch[rank::world_size] for rank in range(world_size)] == parts


@pytest.mark.parametrize(('rank', 'world_size'), [(-1, 2), (2, 2), (0, 0), (0, 9)])
def test_senseless_rank(rank, world_size):
    with pytest.raises(ValueError, match='rank < world_size'):
        numbered(20).next_batch(8, rank, world_size)


@pytest.mark.parametrize('size', [1, 7, 20, 100])
def test_chunks_cover_the_set_and_leave_the_order_alone(size):
    data = numbered(20)
    np.random.seed(1)
    for _ in range(5):
        data.next_batch(6)
    place, state = data.state_dict(), np.random.get_state()[1].copy()
    chunks = list(data.chunks(size))
    np.testing.assert_array_equal(np.concatenate([x for x, _ in chunks]), data.images)
    np.testing.assert_array_equal(np.concatenate([y for _, y in chunks]), data.labels)
    sizes = [len(x) for x, _ in chunks]
    assert max(sizes) == min(size, 20) and min(sizes) >= max(sizes) - 1
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert data.state_dict()['order'].tolist() == place['order'].tolist()
    assert data.state_dict()['index_in_epoch'] == place['index_in_epoch'] == 12
    with pytest.raises(ValueError, match='at least 1'):
        data.chunks(0)


@pytest.mark.parametrize('steps', [0, 1, 3, 4, 11])
def test_state_dict_resumes_the_order(steps):
    np.random.seed(9)
    data = numbered(20)
    for _ in range(steps):
        data.next_batch(6)
    place, random_state = data.state_dict(), np.random.get_state()
    expected = [rows(data.next_batch(6)) for _ in range(12)]
    resumed = numbered(20)
    resumed.load_state_dict(place)
    np.random.set_state(random_state)
    assert [rows(resumed.next_batch(6)) for _ in range(12)] == expected
    assert resumed.epochs_completed == data.epochs_completed
    assert place['order'].dtype == np.int64


@pytest.mark.parametrize(
    'change',
    [
        {'order': np.arange(19)},
        {'order': np.arange(1, 21)},
        {'order': np.zeros(20, int)},
        {'order': np.arange(20).reshape(4, 5)},
        {'order': np.arange(20) + 0.5},
        {'index_in_epoch': -1},
        {'index_in_epoch': 21},
        {'epochs_completed': -1},
    ],
)
def test_state_of_another_set_is_refused(change):
    data = numbered(20)
    with pytest.raises(ValueError, match=r'expected .* got'):
        data.load_state_dict(data.state_dict() | change)
    assert rows(data.next_batch(5)) == [0, 1, 2, 3, 4]


def test_pixels_are_the_pictures_as_they_were(raw):
    test = cifar10_utils.make_data_sets(*raw)['test']
    np.testing.assert_array_equal(test.pixels([3, 1]), raw[2][[3, 1]].transpose(0, 2, 3, 1))
