"""Reading, checking, normalising and batching CIFAR-10."""

import errno
import fractions
import hashlib
import os
import pickle
import pickletools
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import batches
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cifar10_utils
from cifar10_utils import DataError, DataSet
from data import cifar10

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
    # What is reserved for the images is not more than the files have, whatever the batches hold.
    assert X_train.base.nbytes <= sum((tmp_path / name).stat().st_size for name in batches.TRAIN_FILES)


@pytest.mark.parametrize(
    'read', [cifar10_utils.get_cifar10, cifar10_utils.get_cifar10_raw_data, cifar10_utils.load_cifar10]
)
def test_tilde_is_the_home_folder(tmp_path, monkeypatch, read):
    batches.write_folder(tmp_path / 'images')
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('USERPROFILE', str(tmp_path))  # the same, for Windows
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cifar10_utils, 'download_cifar10', lambda *args: pytest.fail('it was not found'))
    read('~/images')
    assert len(cifar10_utils.load_cifar10_batch(Path('~', 'images', 'test_batch'))[0]) == 8
    assert not Path('~').exists()


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
@pytest.mark.parametrize('key', [str, str.encode])
@pytest.mark.parametrize('n', [1, 2, 300, 2500])
def test_batches_written_by_python_3(tmp_path, protocol, key, n):
    pixels, labels = batches.random_batch(n, np.random.default_rng(n))
    pixels.flags.writeable = n != 2  # protocol 5 writes bytes for the one, a bytearray for the other
    (tmp_path / 'batch').write_bytes(pickle.dumps({key('data'): pixels, key('labels'): labels}, protocol))
    X, Y = cifar10_utils.load_cifar10_batch(tmp_path / 'batch')
    np.testing.assert_array_equal(X.reshape(n, 3072), pixels)
    assert Y.tolist() == labels


@pytest.mark.parametrize('protocol', [2, 4, 5])
@pytest.mark.parametrize(
    'form',
    [
        tuple,
        lambda labels: list(np.array(labels)),
        lambda labels: tuple(np.array(labels, np.uint8)),
        np.array,
        lambda labels: np.array(labels, np.uint8),
        lambda labels: np.array(labels, '>i4'),
    ],
    ids=['tuple', 'list of int64', 'tuple of uint8', 'int64', 'uint8', 'big-endian int32'],
)
def test_labels_kept_in_another_form(tmp_path, protocol, form):
    pixels, labels = batches.random_batch(2500, np.random.default_rng(0))
    (tmp_path / 'batch').write_bytes(batches.batch_bytes(pixels, form(labels), protocol))
    _, Y = cifar10_utils.load_cifar10_batch(tmp_path / 'batch')
    assert Y.dtype == np.int64 and Y.dtype.isnative and Y.tolist() == labels


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


def assert_says(error, path, complaint):
    """One line: the file, what is wrong with it, and the remedy."""
    assert str(error.value) == (
        f'{path} {complaint}: move the folder {path.parent} out of the way and run again to have CIFAR-10 fetched '
        'anew, or pass a folder with data_batch_1 ... test_batch as --data_dir'
    )


def assert_broken(error, path, reason):
    assert_says(error, path, f'is not a CIFAR-10 batch, or a broken one ({reason})')


@pytest.mark.parametrize('name', batches.FILES)
def test_missing_or_truncated_file_is_named_with_the_remedy(tmp_path, name):
    batches.write_folder(tmp_path)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError) as error:
        cifar10_utils.get_cifar10(tmp_path)
    assert_broken(error, tmp_path / name, 'pickle exhausted before end of frame')
    (tmp_path / name).unlink()
    with pytest.raises(DataError) as error:
        cifar10_utils.get_cifar10(tmp_path)
    assert_says(error, tmp_path / name, 'is missing')


def test_missing_test_batch_is_noticed_before_the_others_are_read(tmp_path, monkeypatch):
    batches.write_folder(tmp_path)
    (tmp_path / 'test_batch').unlink()
    monkeypatch.setattr(cifar10, '_read_batch', lambda path: pytest.fail(f'{path} was read'))
    with pytest.raises(DataError, match='test_batch is missing'):
        cifar10_utils.load_cifar10(tmp_path)


def test_wrong_folder_is_told_what_to_pass(tmp_path):
    (tmp_path / 'another').mkdir()
    (tmp_path / 'another' / 'notes.txt').touch()
    (tmp_path / 'file').touch()
    for folder in (tmp_path / 'another', tmp_path / 'file'):
        with pytest.raises(DataError) as error:
            cifar10_utils.get_cifar10(folder)
        assert str(error.value) == (
            f'{folder} holds no CIFAR-10 in its Python version: '
            'pass a folder with data_batch_1 ... test_batch, or with cifar-10-python.tar.gz, as --data_dir'
        )


@pytest.mark.parametrize(
    ('held', 'named', 'told'),
    [
        ('cifar-10-python.tar', '', 'the archive as a browser unzips it, which `tar xf` unpacks'),
        ('cifar-10-python.tar', 'cifar-10-python.tar', 'the archive as a browser unzips it, which `tar xf` unpacks'),
        ('data_batch_1.bin', '', 'its binary version'),
        ('data_batch_1.mat', '', 'its Matlab version'),
        ('cifar-100-python/train', 'cifar-100-python', 'CIFAR-100'),
        ('cifar-100-python/train', '', 'CIFAR-100'),
    ],
)
def test_another_form_of_the_data_is_recognised(tmp_path, held, named, told):
    (tmp_path / held).parent.mkdir(exist_ok=True)
    (tmp_path / held).write_bytes(b'data')
    with pytest.raises(DataError, match=f'Python version but {told}: pass a folder'):
        cifar10_utils.get_cifar10(tmp_path / named)


def test_folder_around_the_batches_stands_for_them(tmp_path):
    written = batches.write_folder(tmp_path / 'cifar-10-batches-py')
    for read in (cifar10_utils.load_cifar10, cifar10_utils.get_cifar10_raw_data):
        np.testing.assert_array_equal(read(tmp_path)[0], written[0])
    batches.write_folder(tmp_path, seed=1)  # batches of its own come first
    assert not np.array_equal(cifar10_utils.load_cifar10(tmp_path)[0], written[0])


def test_file_too_large_for_a_batch_is_not_read(tmp_path):
    path = tmp_path / 'batch'
    for size in (2**40, 64 * 2**20 + 1):
        with open(path, 'wb') as file:
            file.truncate(size)  # sparse
        with pytest.raises(DataError) as error:
            cifar10_utils.load_cifar10_batch(path)
        assert_says(error, path, f'has {size} bytes, more than any CIFAR-10 batch')
    os.truncate(path, 64 * 2**20)
    with pytest.raises(DataError) as error:
        cifar10_utils.load_cifar10_batch(path)
    assert_broken(error, path, r"a batch has no opcode b'\x00'")


def test_file_that_the_disk_does_not_give_is_named(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.EIO, 'Input/output error')

    (tmp_path / 'batch').touch()
    monkeypatch.setattr('builtins.open', refuse)
    with pytest.raises(DataError) as error:
        cifar10_utils.load_cifar10_batch(tmp_path / 'batch')
    assert_says(error, tmp_path / 'batch', 'cannot be read (Input/output error)')


@pytest.mark.parametrize(
    ('closed', 'mode', 'named'),
    [
        ('images', 0o000, 'images'),
        ('images', 0o600, 'images/test_batch'),
        ('.', 0o000, 'images'),
        ('images/data_batch_3', 0o000, 'images/data_batch_3'),
    ],
)
def test_what_may_not_be_read_is_named_with_the_remedy(unprivileged, closed, mode, named):
    place, close = unprivileged
    folder = place / 'images'
    batches.write_folder(folder)
    close(place / closed, mode)
    for read in (cifar10_utils.get_cifar10, cifar10_utils.load_cifar10):
        with pytest.raises(DataError) as error:
            read(folder)
        reason = f'cannot be read ({os.strerror(errno.EACCES)}): change its permissions or pass another --data_dir'
        assert str(error.value) == f'{place / named} {reason}'


def test_reason_is_one_line_of_at_most_200_characters(tmp_path, monkeypatch):
    def fail(*args):
        raise ValueError(250 * 'a\n')

    monkeypatch.setattr(cifar10, '_parse_batch', fail)
    with pytest.raises(DataError) as error:
        load_bytes(tmp_path, b'')
    assert_broken(error, tmp_path / 'batch', 100 * 'a ')


PIXELS = np.zeros((2, 3072), np.uint8)
NO_DICTIONARY, NO_STRING = 'it is no dictionary', 'it has a key that is no string'
NO_IMAGES = "'data' is no uint8 array of shape (n, 3072) in C order"
LABELS = "expected 2 integers from 0 to 9 as 'labels', one for each image"
NO_CALL = 'it calls something else than a NumPy array'
NO_STATE = 'it sets the state of something else than a NumPy array'
TOO_LONG = 'it has more opcodes than a batch of its size'


class OfNoShape:
    """Pickled, an array whose shape is a word."""

    def __reduce__(self):
        call, args, (version, _, *state) = PIXELS.__reduce__()
        return call, args, (version, ('two', 3072), *state)


@pytest.mark.parametrize(
    ('batch', 'reason'),
    [
        ({b'labels': [0, 1]}, NO_IMAGES),
        ({b'data': OfNoShape(), b'labels': [0, 1]}, NO_IMAGES),
        ({b'data': PIXELS}, f'{LABELS}, got none'),
        ({b'data': PIXELS, b'fine_labels': [0, 1]}, f'{LABELS}, got none'),  # CIFAR-100
        ({b'data': PIXELS.astype(np.float32), b'labels': [0, 1]}, NO_IMAGES),
        ({b'data': PIXELS.astype(np.int8), b'labels': [0, 1]}, NO_IMAGES),
        ({b'data': PIXELS[:, :-1], b'labels': [0, 1]}, NO_IMAGES),
        ({b'data': PIXELS[:0], b'labels': []}, NO_IMAGES),
        ({b'data': PIXELS.reshape(2, 3, 1024), b'labels': [0, 1]}, NO_IMAGES),
        ({b'data': np.asfortranarray(PIXELS), b'labels': [0, 1]}, NO_IMAGES),
        ({b'data': PIXELS.tobytes(), b'labels': [0, 1]}, NO_IMAGES),
        ({b'data': PIXELS, b'labels': [0]}, f'{LABELS}, got 1 of them'),
        ({b'data': PIXELS, b'labels': (0, 1, 2)}, f'{LABELS}, got 3 of them'),
        ({b'data': PIXELS, b'labels': [0, 10]}, f'{LABELS}, got 10 among them'),
        ({b'data': PIXELS, b'labels': [0, -1]}, f'{LABELS}, got -1 among them'),
        ({b'data': PIXELS, b'labels': np.array([3, 10])}, f'{LABELS}, got 10 among them'),
        ({b'data': PIXELS, b'labels': [0, True]}, f'{LABELS}, got bool among them'),
        ({b'data': PIXELS, b'labels': [0, None]}, f'{LABELS}, got none among them'),
        ({b'data': PIXELS, b'labels': [0.0, 1.0]}, f'{LABELS}, got float among them'),
        ({b'data': PIXELS, b'labels': [0, np.float32(1)]}, f'{LABELS}, got float32 among them'),
        ({b'data': PIXELS, b'labels': [0, PIXELS[0]]}, f'{LABELS}, got uint8 (3072,) among them'),
        ({b'data': PIXELS, b'labels': np.array([0.0, 1.0])}, f'{LABELS}, got float64 (2,)'),
        ({b'data': PIXELS, b'labels': np.array([[0], [1]])}, f'{LABELS}, got int64 (2, 1)'),
        (
            {b'data': PIXELS, b'labels': np.array(['a', 'b'])},
            f'{LABELS}, got an array of no numbers in C order',
        ),
        ({b'data': PIXELS, b'labels': {'a': 0}}, f'{LABELS}, got dict'),
        ({b'data': PIXELS, b'labels': b'ab'}, f'{LABELS}, got bytes'),
        ([PIXELS, [0, 1]], NO_DICTIONARY),
        (None, NO_DICTIONARY),
        ({(0, 1): PIXELS}, NO_STRING),
        ({b'a': 0, (0, 1): PIXELS}, NO_STRING),
        (b'}(U\x01au.', 'zip() argument 2 is shorter than argument 1'),  # a key without a value
        ({b'data': PIXELS, b'labels': {0, 1}}, r"a batch has no opcode b'\x8f'"),
        (b'', 'EOFError'),
        (b'c' + 90 * b'm' + b'\nname\n.', f"it asks for '{80 * 'm'}', which a batch never does"),
        (b'cnumpy\nndarray\n)R.', NO_CALL),
        (b'c_codecs\nencode\n)R.', NO_CALL),
        (b'c_codecs\nencode\n(U\x01aU\x06latin1tR.', NO_CALL),  # bytes, where the text belongs
        (b'c_codecs\nencode\n(X\x01\x00\x00\x00aX\x04\x00\x00\x00utf8tR.', NO_CALL),
        (b'cnumpy\ndtype\n]R.', NO_CALL),
        (b'cnumpy\ndtype\n)R)R.', NO_CALL),
        (b'}}b.', NO_STATE),
        (b'cnumpy\ndtype\n}b.', NO_STATE),
        (b'\x80\x05\x96\x40' + bytes(7) + b'fewer than 64 bytes.', 'a bytearray is longer than the file'),
        (b'\x80\x05\x97.', r"a batch has no opcode b'\x97'"),  # a buffer that is not in the file
        # 1008 opcodes: as many as a file of 1024 bytes may have, and one too many for a smaller one
        (1006 * b'N' + b'U\x0f' + bytes(15) + b'.', NO_DICTIONARY),
        (1006 * b'N' + b'U\x0e' + bytes(14) + b'.', TOO_LONG),
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_but_a_batch_is_refused(tmp_path, batch, reason):
    with pytest.raises(DataError) as error:
        load_bytes(tmp_path, batch if isinstance(batch, bytes) else pickle.dumps(batch, protocol=4))
    assert_broken(error, tmp_path / 'batch', reason)


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
    with pytest.raises(DataError, match=r"it asks for ('posix\.system'|'nt\.system'), which a batch never does"):
        load_bytes(tmp_path, pickle.dumps(Call(os.system, 'true'), protocol=4))


@pytest.mark.parametrize(
    'data',
    [
        b'\x80\x02]r\xff\xff\xff\x7f.',  # a memo index of 2**31
        b'T\xff\xff\xff\x7f.',  # a string of 2**31 bytes
        b'B\xff\xff\xff\xff.',
        b'\x80\x05\x96\x00\x00\x00\x00\x10\x00\x00\x00.',  # a bytearray of 2**36 bytes
        b'\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f.',  # of 2**63
        b'\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.',  # a frame of 2**63 bytes
        b')' * 2**24 + b'.',  # millions of objects in a small file
        b'(' * 2**20 + b'.',
        b')' + b'\x85' * 900 + b'.',  # a tuple nested 900 deep
        b'})' + b''.join(b'q%ch%c\x86' % (i, i) for i in range(200)) + b'Ns.',  # a key that takes 2**200 steps to hash
        b'}(' + b'}' * 500 + b'u.',
    ],
    ids=lambda data: data[:8].hex(),
)
def test_bombs_are_refused(tmp_path, data):
    # A bomb that goes off takes the memory of the machine, or years.
    with pytest.raises(DataError):
        load_bytes(tmp_path, data)


def test_one_text_cannot_be_encoded_again_and_again(tmp_path):
    text = b'X' + struct.pack('<I', 200_000) + bytes(200_000) + b'q\x01'
    again = b'h\x00h\x01h\x02\x86R' * 300
    data = b'\x80\x02c_codecs\nencode\nq\x00' + text + b'X\x06\0\0\0latin1q\x02](' + again + b'e.'
    tracemalloc.start()
    with pytest.raises(DataError, match=r'\(it has more bytes than the file\)'):
        load_bytes(tmp_path, data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * len(data)


VALID = [batches.batch_bytes(*batches.random_batch(2, np.random.default_rng(0)), protocol=p) for p in (2, 3, 4, 5)]
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


def test_images_that_are_no_integers_lose_their_mean_too():
    """A script may scale them before; integer sums would cut off fractions and wrap negative numbers."""
    X = np.random.default_rng(0).uniform(-1, 1, (50, 3, 32, 32)).astype(np.float32)
    X_train, _, X_test, _ = cifar10_utils.preprocess_cifar10_data(X, None, X[:5], None)
    np.testing.assert_array_equal(X_train, X - X.mean(axis=0, dtype=np.float64).astype(np.float32))
    np.testing.assert_array_equal(X_test, X_train[:5])


def test_standardize_divides_by_the_training_std_of_each_channel(raw):
    X = raw[0][7:].astype(np.float64)
    plain, standard = (cifar10_utils.make_data_sets(*raw, validation_size=7, standardize=s) for s in (False, True))
    std = X.std(axis=(0, 2, 3)).reshape(3, 1, 1)
    for name in plain:
        # two roundings to float32, of std and of the quotient
        np.testing.assert_allclose(standard[name].images, plain[name].images / std, rtol=2e-7, atol=0)
    x, _ = standard['train'].next_batch(5)
    np.testing.assert_array_equal(x, standard['train'].images[:5])
    assert standard['train'].std.dtype == standard['train'].mean_image.dtype == np.float32


def test_std_counts_every_image_once_and_is_exact():
    """Images are counted by the thousand; a channel of 0 and 1, one in 1001, has a variance of 1/1001 − 1/1001²."""
    images = np.zeros((2002, 3, 32, 32), np.uint8)
    images[[1000, 2000]] = 1
    std = cifar10_utils.make_data_sets(images, np.zeros(2002, int), images, np.zeros(2002, int), standardize=True)
    np.testing.assert_allclose(std['train'].std, np.full((3, 1, 1), 1000**0.5 / 1001), rtol=1e-7)


def test_standardize_leaves_a_constant_channel_alone(raw):
    X_train, X_test = raw[0].copy(), raw[2]
    X_train[:, 1] = 77
    sets = cifar10_utils.make_data_sets(X_train, *raw[1:], standardize=True)
    assert (sets['train'].images[:, 1] == 0).all() and np.isfinite(sets['train'].images).all()
    np.testing.assert_array_equal(sets['test'].images[:, 1], X_test[:, 1].astype(np.float32) - 77)


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
    assert (
        cifar10_utils.dense_to_one_hot([9]).shape == (1, 10)
        and len(cifar10_utils.dense_to_one_hot(np.zeros(0, int))) == 0
    )
    for labels, message in (
        ([3, 1], 'expected labels from 0 to 2, got 1 to 3'),
        ([-1, 0], 'expected labels from 0 to 2, got -1 to 0'),
        ([[0]], 'expected labels of shape (N,), got (1, 1)'),
        (0, 'expected labels of shape (N,), got ()'),
        ([0.0, 1.0], 'expected integer labels, got float64'),
        ([True, False], 'expected integer labels, got bool'),
    ):
        with pytest.raises(ValueError) as error:
            cifar10_utils.dense_to_one_hot(np.array(labels), 3)
        assert str(error.value) == message


def test_defaults_are_the_assignments(tmp_path, monkeypatch, raw):
    """One-hot labels, no validation set, the mean subtracted and no more, from a folder where one starts Python."""
    batches.write_folder(tmp_path / 'cifar10' / 'cifar-10-batches-py')
    monkeypatch.chdir(tmp_path)
    for sets in (
        cifar10_utils.get_cifar10(),
        cifar10_utils.read_data_sets('cifar10/cifar-10-batches-py'),
        cifar10_utils.make_data_sets(*raw),
    ):
        assert [sets[name].num_examples for name in ('train', 'validation', 'test')] == [50, 0, 8]
        assert [sets[name].labels.shape for name in ('train', 'validation', 'test')] == [(50, 10), (0, 10), (8, 10)]
        assert sets['train'].std is None
    assert numbered(5).labels.shape == (5, 10)
    for function in (cifar10_utils.get_cifar10, cifar10_utils.read_data_sets):
        assert function('cifar10/cifar-10-batches-py', standardize=True)['test'].std is not None


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
    with pytest.raises(ValueError, match=f'^expected a validation_size from 0 to 49, got {validation_size}$'):
        cifar10_utils.make_data_sets(*raw, validation_size=validation_size)


IMAGES, LABELS = 'expected uint8 images of shape (N, 3, 32, 32), got', 'expected labels of shape (2,), got'


@pytest.mark.parametrize(
    ('images', 'labels', 'message'),
    [
        (np.zeros((2, 3, 32, 32), np.float32), np.zeros(2, int), f'{IMAGES} float32 (2, 3, 32, 32)'),
        (np.zeros((2, 32, 32, 3), np.uint8), np.zeros(2, int), f'{IMAGES} uint8 (2, 32, 32, 3)'),
        (np.zeros((2, 3072), np.uint8), np.zeros(2, int), f'{IMAGES} uint8 (2, 3072)'),
        (np.zeros((2, 3, 32, 32), np.uint8), np.zeros(3, int), f'{LABELS} (3,)'),
        (np.zeros((2, 3, 32, 32), np.uint8), np.zeros((2, 1), int), f'{LABELS} (2, 1)'),  # as Keras gives them
        (np.zeros((2, 3, 32, 32), np.uint8), np.zeros(2), 'expected integer labels, got float64'),
    ],
)
def test_wrong_arrays(images, labels, message):
    with pytest.raises(ValueError) as error:
        DataSet(images, labels, np.zeros((3, 32, 32), np.float32))
    assert str(error.value) == message


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
    with pytest.raises(ValueError, match=rf'^expected a batch_size from 1 to 20 \(all examples\), got {batch_size}$'):
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
    message = f'^expected 0 <= rank < world_size <= batch_size, got {rank}, {world_size}, 8$'
    with pytest.raises(ValueError, match=message):
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
    with pytest.raises(ValueError, match=r'^expected a chunk of at least 1 example, got 0$'):
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


def test_state_at_the_end_of_an_epoch_resumes_too():
    data, resumed = numbered(20), numbered(20)
    data.next_batch(20)
    resumed.load_state_dict(data.state_dict())
    resumed.next_batch(1)
    assert resumed.epochs_completed == 1


ORDER, PLACE = 'an order with each of 0..19 once', 'index_in_epoch from 0 to 20 and epochs_completed from 0 on'


@pytest.mark.parametrize(
    ('change', 'expected', 'got'),
    [
        ({'order': np.arange(19)}, ORDER, 'int64 (19,)'),
        ({'order': np.arange(1, 21)}, ORDER, 'int64 (20,)'),
        ({'order': np.zeros(20, int)}, ORDER, 'int64 (20,)'),
        ({'order': np.arange(20).reshape(4, 5)}, ORDER, 'int64 (4, 5)'),
        ({'order': np.arange(20) + 0.5}, ORDER, 'float64 (20,)'),
        ({'index_in_epoch': -1}, PLACE, '-1 and 0'),
        ({'index_in_epoch': 21}, PLACE, '21 and 0'),
        ({'epochs_completed': -1}, PLACE, '0 and -1'),
    ],
)
def test_state_of_another_set_is_refused(change, expected, got):
    data = numbered(20)
    with pytest.raises(ValueError) as error:
        data.load_state_dict(data.state_dict() | change)
    assert str(error.value) == f'expected {expected}, got {got}'
    assert rows(data.next_batch(5)) == [0, 1, 2, 3, 4]


def test_state_of_other_images_or_labels_is_refused(raw):
    X, Y = raw[:2]
    state = cifar10_utils.make_data_sets(*raw)['train'].state_dict()
    for images, labels in ((X ^ (np.arange(X.size).reshape(X.shape) == 0), Y), (X, (Y + (np.arange(50) == 0)) % 10)):
        with pytest.raises(DataError) as error:
            cifar10_utils.make_data_sets(images, labels, *raw[2:])['train'].load_state_dict(state)
        assert str(error.value) == (
            'the data are not those that the run was started with: bring those back, or start again with --overwrite'
        )


def test_pixels_are_the_pictures_as_they_were(raw):
    test = cifar10_utils.make_data_sets(*raw)['test']
    np.testing.assert_array_equal(test.pixels([3, 1]), raw[2][[3, 1]].transpose(0, 2, 3, 1))
