# SPDX-License-Identifier: Apache-2.0
"""The smallest program over two hosts: a pod here, a Worker there, its sub-worker below it.

there:  python -m echelon daemon --listen ADDRESS --tls-dir KEYS --allow pickle
here:   python main.py ADDRESS [KEYS]
"""

from __future__ import annotations

import sys

import numpy as np

import echelon as ec


def double(task: ec.Task) -> tuple[str, float]:
    """For a sub-worker: who ran it, and the sum that came out."""
    x = task.arrays()[0]
    x *= 2
    return task.path, float(x.sum())


def run(address: str, keys: str = "") -> None:
    pod = ec.Worker(level=4, name="pod0")
    host = pod.add_remote_worker(ec.RemoteWorkerSpec(address, "host0", sub_workers=1, tls_dir=keys))
    doubled = pod.register_sub(double)

    # For the host: has its own sub-worker double what it is given.
    def on_the_host(orch: ec.Orchestrator, args: ec.TaskArgs) -> tuple[str, str, float]:
        task = orch.submit(doubled, ec.Args().inout(args.handle(0)))
        return orch.path, *task.result()

    handle = pod.register_orch(on_the_host, "on the host")
    with pod:
        x = pod.remote_tensor(host, 4, np.float32)
        pod.copy_to(x, [1, 2, 3, 4])
        print(f'pod0 submits "on the host" to {address}')
        returned = pod.run(lambda orch: orch.submit(handle, ec.Args().inout(x)).result())
        orchestrator, sub_worker, total = returned
        print(f'{orchestrator} submits "double" to its own sub-worker')
        print(f"{sub_worker} runs it")
        print(f"by return value: {total:g}")
        print("by copy_from:", *(f"{value:g}" for value in pod.copy_from(x)))


def main() -> int:
    if len(sys.argv) not in (2, 3):
        print(f"usage: {sys.argv[0]} ADDRESS [KEYS]", file=sys.stderr)
        return 2
    try:
        run(*sys.argv[1:])
    except ec.Error as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
