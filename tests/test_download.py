"""Fetching CIFAR-10, against a server on this machine that behaves well, badly and worse."""

import errno
import hashlib
import io
import os
import re
import socket
import sys
import tarfile
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import batches
import numpy as np
import pytest
from filelock import FileLock

import cifar10_utils
from cifar10_utils import DataError
from data import download


def md5(data):
    return hashlib.md5(data).hexdigest()


@pytest.fixture(scope='module')
def original(tmp_path_factory):
    """A folder of small batches, the archive of it as bytes, and the MD5 of each file."""
    folder = tmp_path_factory.mktemp('original') / 'cifar-10-batches-py'
    batches.write_folder(folder, n_train=12)
    (folder / 'batches.meta').write_bytes(b'names')
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w:gz') as tar:
        tar.add(folder, folder.name)
    return folder, buffer.getvalue(), {path.name: md5(path.read_bytes()) for path in folder.iterdir()}


class Handler(BaseHTTPRequestHandler):
    """The first word of the path says how the server behaves."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        behaviour, start = self.path.split('/')[1], int(self.headers.get('Range', 'bytes=0-')[6:-1])
        visits = self.server.requests.count(behaviour)
        self.server.requests.append(behaviour)
        self.server.starts.append((behaviour, start))
        data = self.server.archive
        if behaviour == 'missing':
            return self.send_error(404)
        if self.headers['User-Agent'].startswith('Python'):  # as Zenodo does
            return self.send_error(403)
        if behaviour == 'unavailable':
            return self.send_error(503)
        if behaviour == 'moved':
            self.send_response(302)
            self.send_header('Location', '/good')
            return self.end_headers()
        if behaviour == 'refuses_range' and start:
            return self.send_error(416)
        if behaviour == 'ignores_range':
            start = 0
        if behaviour == 'wrong':
            data = bytes(len(data))
        if behaviour == 'page':
            data = b'<html>Please log in</html>'
        self.send_response(206 if start else 200)
        if start and behaviour != 'hides':
            self.send_header('Content-Range', f'bytes {start + (behaviour == "lies")}-{len(data) - 1}/{len(data)}')
        self.send_header('Content-Length', len(data) - start)
        if behaviour == 'endless':  # a chunk that is longer than all that was announced
            self.send_header('Transfer-Encoding', 'chunked')
        self.end_headers()
        if behaviour == 'endless':
            data = b'%x\r\n' % (10 * len(data)) + bytes(10 * len(data)) + b'\r\n0\r\n\r\n'
        if behaviour == 'cut' or (behaviour in ('refuses_range', 'ignores_range', 'lies', 'hides') and not visits):
            data = data[: start + len(self.server.archive) // 3]
        try:
            for i in range(start, len(data), 2**14):
                self.wfile.write(data[i : i + 2**14])
                time.sleep(0.01 if behaviour == 'slow' else 0)
            if behaviour == 'stalls':
                self.server.release.wait(10)
        except OSError:
            pass  # the client has had enough


@pytest.fixture
def server(original, monkeypatch):
    _, archive, file_md5 = original
    monkeypatch.setattr(download, 'ARCHIVE_BYTES', len(archive))
    monkeypatch.setattr(download, 'ARCHIVE_MD5', md5(archive))
    monkeypatch.setattr(download, 'FILE_MD5', file_md5)
    monkeypatch.setattr(download, 'PAUSE', 0)
    monkeypatch.setenv('no_proxy', '127.0.0.1')  # before NO_PROXY
    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        server.daemon_threads = True
        server.archive, server.requests, server.starts, server.release = archive, [], [], threading.Event()
        server.url = lambda behaviour: f'http://127.0.0.1:{server.server_port}/{behaviour}'
        server.set_sources = lambda *behaviours: monkeypatch.setattr(
            download, 'SOURCES', tuple(map(server.url, behaviours))
        )
        server.set_sources('missing')
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.release.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path):
    return tmp_path / 'cifar10' / 'my-folder'


def assert_complete(target, original):
    folder, _, file_md5 = original
    assert {path.name: md5(path.read_bytes()) for path in target.iterdir()} == file_md5
    left = {path.name for path in target.parent.iterdir()} - {target.name, 'cifar-10-python.tar.gz.lock'}
    assert left <= {'cifar-10-python.tar.gz'}  # no .part, no temporary folder
    for read, expected in zip(cifar10_utils.load_cifar10(target), cifar10_utils.load_cifar10(folder), strict=True):
        np.testing.assert_array_equal(read, expected)


@pytest.mark.parametrize('behaviour', ['good', 'slow', 'moved'])
def test_missing_folder_is_fetched_and_read(server, target, original, behaviour, monkeypatch):
    server.set_sources(behaviour)
    created, create = [], tempfile.TemporaryDirectory
    monkeypatch.setattr(tempfile, 'TemporaryDirectory', lambda **options: created.append(options) or create(**options))
    sets = cifar10_utils.get_cifar10(target, one_hot=False)
    assert sets['train'].num_examples == 60 and sets['test'].num_examples == 8
    assert [options.get('dir') for options in created] == [
        target.parent
    ]  # from another disk it could not be moved at once
    assert_complete(target, original)


def test_folder_that_is_empty_is_filled(server, target, original):
    target.mkdir(parents=True)
    cifar10_utils.get_cifar10(target, data_url=server.url('good'))
    assert_complete(target, original)


def test_tilde_is_the_home_folder(server, tmp_path, original, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('USERPROFILE', str(tmp_path))  # the same, for Windows
    monkeypatch.chdir(tmp_path)
    cifar10_utils.download_cifar10('~/cifar10/my-folder', server.url('good'))
    assert_complete(tmp_path / 'cifar10' / 'my-folder', original)


@pytest.mark.parametrize('dangling', [False, True])
def test_link_to_a_folder_that_is_empty_or_missing_stays_a_link(server, tmp_path, original, dangling):
    link, folder = tmp_path / 'link', tmp_path / 'disk' / 'data' / 'folder'
    link.symlink_to(folder)
    if not dangling:
        folder.mkdir(parents=True)
    cifar10_utils.get_cifar10(link, data_url=server.url('good'))
    assert link.is_symlink()
    assert_complete(folder, original)


def test_folder_that_holds_something_is_never_fetched(server, target):
    target.mkdir(parents=True)
    (target / 'notes.txt').write_text('mine')
    with pytest.raises(DataError, match='holds no CIFAR-10'):
        cifar10_utils.get_cifar10(target, data_url=server.url('good'))
    assert server.requests == []


def test_sources_are_tried_in_their_order(server, target, original, capsys):
    server.set_sources('missing', 'good', 'slow')
    cifar10_utils.get_cifar10(target)
    assert server.requests == ['missing', 'good']
    told = [line for line in capsys.readouterr().err.splitlines() if not line.startswith('Fetching')]
    assert told == [f'No luck with {server.url("missing")}: HTTP status 404']
    assert_complete(target, original)


def test_origin_is_the_last_source_and_every_source_is_encrypted():
    assert 'cs.toronto.edu' in download.SOURCES[-1]
    assert all(url.startswith('https://') for url in download.SOURCES)


def test_progress_is_shown_on_a_terminal(server, target, monkeypatch):
    """With a resumed or restarted fetch too, it ends at 100%."""
    megabytes = f'{len(server.archive) / 1e6:.0f} MB'
    for behaviour in ('good', 'cut', 'ignores_range'):
        terminal = io.StringIO()
        terminal.isatty = lambda: True
        monkeypatch.setattr(sys, 'stderr', terminal)
        cifar10_utils.get_cifar10(target.with_name(behaviour), data_url=server.url(behaviour))
        announced, bar = terminal.getvalue().split('\n', 1)
        assert announced == f'Fetching CIFAR-10, {megabytes}, from {server.url(behaviour)}'
        assert re.search(r'cifar-10-python\.tar\.gz: 100%\|#+\| (\d+k)/\1 \[.*[\dkM]B/s\]\n$', bar), bar
        (target.parent / 'cifar-10-python.tar.gz').unlink()


def test_no_progress_is_shown_where_nobody_looks(server, target, capsys):
    cifar10_utils.get_cifar10(target, data_url=server.url('good'))
    assert '%' not in capsys.readouterr().err


def test_data_url_comes_first_and_alone_if_it_works(server, target, original):
    server.set_sources('slow')
    cifar10_utils.get_cifar10(target, data_url=server.url('good'))
    assert server.requests == ['good']
    assert_complete(target, original)


@pytest.mark.parametrize(
    ('bad', 'reason'),
    [
        ('missing', 'HTTP status 404'),
        ('unavailable', 'HTTP status 503'),
        ('wrong', 'what it sent has another MD5 than {md5}, and was deleted'),
        ('endless', 'it does not offer the {n} bytes of the archive, or does not say how many it has'),
        ('page', 'it does not offer the {n} bytes of the archive, or does not say how many it has'),
    ],
)
def test_next_source_follows_when_one_fails(server, target, original, bad, reason, capsys):
    server.set_sources('slow')
    cifar10_utils.get_cifar10(target, data_url=server.url(bad))
    assert server.requests == [bad, 'slow']
    (line,) = (line for line in capsys.readouterr().err.splitlines() if not line.startswith('Fetching'))
    reason = reason.format(md5=md5(server.archive), n=len(server.archive))
    assert line == f'No luck with {server.url(bad)}: {reason}'
    assert_complete(target, original)


def test_bytes_with_the_wrong_md5_are_never_used(server, target):
    with pytest.raises(DataError, match='another MD5'):
        cifar10_utils.get_cifar10(target, data_url=server.url('wrong'))
    assert {path.name for path in target.parent.iterdir()} <= {'cifar-10-python.tar.gz.lock'}


def test_connection_cut_off_resumes_where_it_stopped(server, target, original):
    cifar10_utils.get_cifar10(target, data_url=server.url('cut'))
    third = len(server.archive) // 3
    assert server.starts == [('cut', 0), ('cut', third), ('cut', 2 * third), ('cut', 3 * third)][: len(server.starts)]
    assert len(server.starts) >= 3
    assert_complete(target, original)


def test_pauses_double_and_attempts_are_counted(server, target, monkeypatch):
    """'cut' gives a third at a time, so that it needs a third and a fourth attempt for the whole."""
    pauses = []
    monkeypatch.setattr(download, 'time', SimpleNamespace(sleep=pauses.append))
    monkeypatch.setattr(download, 'PAUSE', 1)
    cifar10_utils.get_cifar10(target.parent / 'another' / 'folder', data_url=server.url('cut'))
    assert pauses == [1, 2, 4][: len(server.requests) - 1]

    pauses.clear()
    server.requests.clear()
    server.set_sources('good')
    monkeypatch.setattr(download, 'ATTEMPTS', 2)
    cifar10_utils.get_cifar10(target, data_url=server.url('cut'))
    assert server.requests == ['cut', 'cut', 'good'] and pauses == [1]


@pytest.mark.parametrize('behaviour', ['refuses_range', 'ignores_range'])
def test_server_without_ranges_starts_again(server, target, original, behaviour, monkeypatch):
    timeouts, urlopen = [], urllib.request.urlopen
    monkeypatch.setattr(
        urllib.request, 'urlopen', lambda *args, timeout: timeouts.append(timeout) or urlopen(*args, timeout=timeout)
    )
    cifar10_utils.get_cifar10(target, data_url=server.url(behaviour))
    assert set(server.requests) == {behaviour}
    assert set(timeouts) == {20}  # the second start may fall silent as well
    assert_complete(target, original)


@pytest.mark.parametrize('behaviour', ['lies', 'hides'])
def test_server_that_resumes_elsewhere_or_who_knows_where_is_left(server, target, original, behaviour):
    server.set_sources('good')
    cifar10_utils.get_cifar10(target, data_url=server.url(behaviour))
    assert server.starts[-1] == ('good', len(server.archive) // 3)  # what it gave first is of use
    assert_complete(target, original)


def test_server_that_fails_is_not_asked_for_the_beginning_instead(server, target, original):
    target.parent.mkdir(parents=True)
    (target.parent / 'cifar-10-python.tar.gz.part').write_bytes(server.archive[:1000])
    server.set_sources('good')
    cifar10_utils.get_cifar10(target, data_url=server.url('unavailable'))
    assert server.starts == [('unavailable', 1000), ('good', 1000)]
    assert_complete(target, original)


def test_part_file_of_an_earlier_run_is_completed(server, target, original):
    target.parent.mkdir(parents=True)
    (target.parent / 'cifar-10-python.tar.gz.part').write_bytes(server.archive[:1000])
    cifar10_utils.get_cifar10(target, data_url=server.url('good'))
    assert server.starts == [('good', 1000)]
    assert_complete(target, original)


@pytest.mark.parametrize('length', [1000, 'all', 'more'])
def test_bad_part_file_is_started_again(server, target, original, length, capsys):
    n = {'all': len(server.archive), 'more': len(server.archive) + 10}.get(length, length)
    target.parent.mkdir(parents=True)
    part = target.parent / 'cifar-10-python.tar.gz.part'
    part.write_bytes(bytes(n))
    cifar10_utils.get_cifar10(target, data_url=server.url('refuses_range' if length == 'more' else 'good'))
    assert server.starts[-1][1] == 0
    told = f'{part}, begun earlier, came out with the wrong MD5: fetching it from the start\n'
    assert (told in capsys.readouterr().err) == (length != 'more')
    assert_complete(target, original)


def test_interrupted_fetch_keeps_what_it_has(server, target, original, monkeypatch):
    monkeypatch.setattr(download, 'ATTEMPTS', 1)
    n = len(server.archive)
    with pytest.raises(DataError, match=f': the connection was cut off after {n // 3} of {n} bytes[;)]'):
        cifar10_utils.get_cifar10(target, data_url=server.url('cut'))
    assert not target.exists()
    cifar10_utils.get_cifar10(target, data_url=server.url('good'))
    assert server.starts[-1] == ('good', len(server.archive) // 3)
    assert_complete(target, original)


def test_silent_server_times_out(server, target, original, monkeypatch, capsys):
    monkeypatch.setattr(download, 'TIMEOUT', 0.2)
    server.set_sources('good')
    with socket.create_server(('127.0.0.1', 0)) as silent:  # accepts, and never answers
        address = f'http://127.0.0.1:{silent.getsockname()[1]}/'
        cifar10_utils.get_cifar10(target, data_url=address)
    assert f'No luck with {address}: timed out\n' in capsys.readouterr().err
    assert_complete(target, original)


@pytest.mark.parametrize('place', ['cifar10', '.'])
def test_archive_put_by_hand_is_used(server, target, original, tmp_path, place):
    target.parent.mkdir()
    (tmp_path / place / 'cifar-10-python.tar.gz').write_bytes(server.archive)
    cifar10_utils.get_cifar10(target)
    assert server.requests == []
    assert_complete(target, original)


@pytest.mark.parametrize('data_dir', ['.', 'cifar-10-python.tar.gz'])
def test_archive_or_the_folder_that_holds_it_may_be_named(server, tmp_path, original, data_dir):
    place = tmp_path / 'downloads'
    place.mkdir()
    (place / 'cifar-10-python.tar.gz').write_bytes(server.archive)
    for _ in range(2):  # unpacked, and then found unpacked
        sets = cifar10_utils.get_cifar10(place / data_dir)
        assert sets['train'].num_examples == 60
    assert server.requests == []
    assert_complete(place / 'cifar-10-batches-py', original)


@pytest.mark.parametrize('data_dir', ['.', 'cifar-10-python.tar.gz'])
def test_named_archive_with_another_md5_is_never_unpacked(server, tmp_path, original, capsys, data_dir):
    archive = tmp_path / 'cifar-10-python.tar.gz'
    archive.write_bytes(server.archive[:-1])
    with pytest.raises(DataError) as error:
        cifar10_utils.get_cifar10(tmp_path / data_dir)
    assert f'{archive} is passed over: its MD5 is not {md5(server.archive)}\n' in capsys.readouterr().err
    assert f'and put it at {archive}\n' in str(error.value)
    assert not (tmp_path / 'cifar-10-batches-py').exists()


def test_archive_put_by_hand_that_may_not_be_read_is_passed_over(server, capsys, unprivileged):
    place, close = unprivileged
    archive = place / 'cifar-10-python.tar.gz'
    archive.write_bytes(server.archive)
    close(archive, 0o000)
    sets = cifar10_utils.get_cifar10(place / 'my-folder', data_url=server.url('good'))
    told = f'{archive} is passed over: it cannot be read ({os.strerror(errno.EACCES)})\n'
    assert capsys.readouterr().err.startswith(told)
    assert sets['train'].num_examples == 60


def test_archive_put_by_hand_with_another_md5_is_passed_over(server, target, original, capsys):
    target.parent.mkdir()
    archive = target.parent / 'cifar-10-python.tar.gz'
    archive.write_bytes(server.archive[:-1])
    cifar10_utils.get_cifar10(target, data_url=server.url('good'))
    told = f'{archive} is passed over: its MD5 is not {md5(server.archive)}\n'
    assert capsys.readouterr().err.startswith(told)
    assert_complete(target, original)


def test_a_proxy_is_named_when_nothing_can_be_fetched_and_its_password_is_not(server, target, monkeypatch):
    proxies = dict.fromkeys(['http', 'https'], 'http://me:secret@proxy:port') | {'no': 'here'}
    monkeypatch.setattr(urllib.request, 'getproxies', lambda: proxies)
    with pytest.raises(DataError, match=r'could not be fetched by way of http_proxy and https_proxy \(http') as error:
        cifar10_utils.get_cifar10(target)
    assert 'secret' not in str(error.value)


def test_without_a_network_the_ways_on_are_listed(server, target, monkeypatch):
    monkeypatch.setattr(urllib.request, 'getproxies', dict)
    with socket.create_server(('127.0.0.1', 0)) as closed:
        address = f'http://127.0.0.1:{closed.getsockname()[1]}/'
    monkeypatch.setattr(download, 'SOURCES', (address,))
    with pytest.raises(DataError) as error:
        cifar10_utils.get_cifar10(target, data_url=address.replace('http', 'https'))
    refused = f'[Errno {errno.ECONNREFUSED}] {os.strerror(errno.ECONNREFUSED)}'
    assert str(error.value) == (
        f'CIFAR-10 is not in {target} and could not be fetched '
        f'({address.replace("http", "https")}: {refused}; {address}: {refused}). Three ways on:\n'
        f'  1. get cifar-10-python.tar.gz by hand (MD5 {md5(server.archive)}, for instance from {address}) '
        f'and put it at {target.parent / "cifar-10-python.tar.gz"}\n'
        '  2. pass a folder with data_batch_1 ... test_batch as --data_dir, or a working address as --data_url\n'
        '  3. use the built-in data set: --dataset shapes10'
    )
    assert not target.exists()


@pytest.mark.parametrize(
    'url',
    ['file:///etc/hostname', 'ftp://127.0.0.1/a', 'a', '', 'http://', 'http://[', 'http://a b/'],
    ids=['file', 'ftp', 'word', 'nothing', 'no host', 'half a host', 'space'],
)
def test_other_addresses_are_refused(server, target, url):
    reasons = 'expected an address that begins with http:// or https://', r'no valid address \(.+\)', 'no host given'
    with pytest.raises(DataError, match=rf'\({re.escape(url)}: ({"|".join(reasons)})[;)]'):
        cifar10_utils.get_cifar10(target, data_url=url)


def test_file_with_another_md5_in_the_archive_is_refused(server, target, original, monkeypatch):
    monkeypatch.setattr(download, 'FILE_MD5', original[2] | {'data_batch_3': md5(b'')})
    with pytest.raises(DataError) as error:
        cifar10_utils.get_cifar10(target, data_url=server.url('good'))
    archive = target.parent / 'cifar-10-python.tar.gz'
    assert str(error.value) == (
        f'data_batch_3 in {archive} has another MD5 than {md5(b"")}: delete the archive and run again'
    )
    assert not target.exists()


@pytest.mark.parametrize(
    ('name', 'end', 'cause'),
    [('evil', None, KeyError), ('cifar-10-batches-py', -100, EOFError), ('', 0, tarfile.TarError)],
)
def test_archive_that_cannot_be_unpacked_is_named(server, target, original, monkeypatch, name, end, cause):
    """It lacks a file, its end, or everything; with the right MD5 that takes a wrong MD5 in the program."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w:gz') as tar:
        tar.add(original[0], name)
    data, archive = buffer.getvalue()[:end], target.parent / 'cifar-10-python.tar.gz'
    monkeypatch.setattr(download, 'ARCHIVE_MD5', md5(data))
    target.parent.mkdir()
    archive.write_bytes(data)
    with pytest.raises(DataError) as error:
        cifar10_utils.get_cifar10(target)
    reason = error.value.__cause__
    assert isinstance(reason, cause)
    assert str(error.value) == f'{archive} cannot be unpacked ({reason}): delete it and run again'
    assert not target.exists()


def test_only_the_expected_files_are_unpacked(server, target, original, tmp_path, monkeypatch):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w:gz') as tar:
        tar.add(original[0], 'cifar-10-batches-py')
        for name in ('../evil', str(tmp_path / 'evil'), 'cifar-10-batches-py/evil', 'evil'):
            tar.addfile(tarfile.TarInfo(name))
    server.archive = buffer.getvalue()
    monkeypatch.setattr(download, 'ARCHIVE_BYTES', len(server.archive))
    monkeypatch.setattr(download, 'ARCHIVE_MD5', md5(server.archive))
    cifar10_utils.get_cifar10(target, data_url=server.url('good'))
    assert not [path for path in tmp_path.rglob('*evil*')]
    assert_complete(target, original)


def test_place_that_cannot_be_written(server, tmp_path):
    (tmp_path / 'file').touch()
    data_dir = tmp_path / 'file' / 'cifar10' / 'x'
    with pytest.raises(DataError) as error:
        cifar10_utils.get_cifar10(data_dir, data_url=server.url('good'))
    reason = os.strerror(errno.ENOTDIR)
    assert str(error.value) == f'{data_dir} cannot be written ({reason}): make room there or pass another --data_dir'


def test_two_that_fetch_at_once_fetch_once(server, target, original):
    # Threads stand for processes: each opens the lock file for itself.
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(cifar10_utils.get_cifar10, target, data_url=server.url('slow')) for _ in range(2)]
    assert [sets.result()['train'].num_examples for sets in both] == [60, 60]
    assert server.requests == ['slow']
    assert_complete(target, original)


def test_a_process_that_keeps_the_lock_is_waited_for_with_a_word_and_a_limit(server, target, monkeypatch, capsys):
    monkeypatch.setattr(download, 'PATIENCE', 0.1)
    target.parent.mkdir()
    held = FileLock(target.parent / 'cifar-10-python.tar.gz.lock')
    with held, pytest.raises(DataError, match=r'another process has been fetching CIFAR-10 into .* for 0\.1 s'):
        cifar10_utils.get_cifar10(target, data_url=server.url('good'))
    assert capsys.readouterr().err == f'another process is fetching CIFAR-10 into {target}: waiting for it\n'
    assert server.requests == []
