import subprocess
import sys

import pytest

from embryofl.errors import UserError
from embryofl.process import read_settings
from embryofl_server.settings import HubSettings


def test_misspelt_variable_is_refused_with_the_nearest_name(monkeypatch):
    monkeypatch.setenv("EMBRYOFL_APROVAL", "manual")
    with pytest.raises(UserError, match="no variable EMBRYOFL_APROVAL; did you mean EMBRYOFL_APPROVAL\\?"):
        read_settings(HubSettings, {})


def test_variables_of_other_programs_are_accepted(monkeypatch):
    monkeypatch.setenv("EMBRYOFL_CONSOLE_PORT", "7861")
    assert read_settings(HubSettings, {}).approval is None


def test_unusable_value_is_named_in_our_own_words(monkeypatch):
    monkeypatch.setenv("EMBRYOFL_APPROVAL", "never")
    with pytest.raises(UserError, match="approval must be 'auto' or 'manual', not 'never'"):
        read_settings(HubSettings, {})


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("keep", [False, True])
def test_freed_memory_is_kept_until_it_is_released(keep):
    code = f"""
import ctypes
from embryofl.process import keep_freed_memory, release_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096
if {keep}:
    keep_freed_memory()
before = resident()
block = libc.malloc(40 << 20)
ctypes.memset(block, 1, 40 << 20)
libc.free(block)
freed = resident()
release_freed_memory()
print(freed - before > 30 << 20, resident() - before > 30 << 20)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(keep), "False"]
