# SPDX-License-Identifier: Apache-2.0
"""The smallest program over two hosts: a pod here, a Worker there, its sub-worker below it.

there:  echelon daemon --listen ADDRESS --tls-dir KEYS --allow library
here:   python main.py libremote_callables.so ADDRESS [KEYS]
"""

from __future__ import annotations

import struct
import sys

import numpy as np

import echelon as ec

STEPS = struct.Struct("64s64sd")  # steps.h: who did what, and the sum that came out


def run(library: str, address: str, keys: str = "") -> None:
    pod = ec.Worker(level=4, name="pod0")
    host = pod.add_remote_worker(ec.RemoteWorkerSpec(address, "host0", sub_workers=1, tls_dir=keys))
    pod.register_library(library)
    pod.register_sub("double")
    on_the_host = pod.register_orch("on the host")
    with pod:
        x = pod.remote_tensor(host, 4, np.float32)
        pod.copy_to(x, [1, 2, 3, 4])
        print(f'pod0 submits "on the host" to {address}')
        returned = pod.run(lambda orch: orch.submit(on_the_host, ec.Args().inout(x)).result_bytes())
        orchestrator, sub_worker, total = STEPS.unpack(returned)
        print(f'{text(orchestrator)} submits "double" to its own sub-worker')
        print(f"{text(sub_worker)} runs it")
        print(f"by return value: {total:g}")
        print("by copy_from:", *(f"{value:g}" for value in pod.copy_from(x)))


def text(field: bytes) -> str:
    return field.rstrip(b"\0").decode()


def main() -> int:
    if len(sys.argv) not in (3, 4):
        print(f"usage: {sys.argv[0]} libremote_callables.so ADDRESS [KEYS]", file=sys.stderr)
        return 2
    try:
        run(*sys.argv[1:])
    except ec.Error as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
