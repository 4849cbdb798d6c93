"""What a Kubernetes Service does for its pods, by TCP on one machine: new connections go to those that are ready."""
import asyncio
import contextlib
import threading
import time

from . import env
from .http import get


class Service:
    """Pods have host, port and http. The readiness of each is asked again and again, as its probe does."""

    def __init__(self, every=0.1):
        self.host, self.port = "127.0.0.1", env.free_port()
        self.every = every
        self.pods, self.ready, self.leaving, self.taken = [], set(), set(), {}
        self.open = {}
        self.turn = 0
        self.loop = asyncio.new_event_loop()
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=self.loop.run_forever, daemon=True), threading.Thread(target=self.probe, daemon=True)]
        for t in self.threads:
            t.start()
        asyncio.run_coroutine_threadsafe(self.listen(), self.loop).result(env.PATIENCE)

    def add(self, pod):
        self.pods.append(pod)
        env.wait_for(lambda: pod in self.ready, "the pod to be ready")
        return pod

    def take_out(self, pod):
        """As the endpoints controller does for a pod that is to go, whatever its probe says."""
        self.leaving.add(pod)

    def probe(self):
        while not self.is_over.is_set():
            for pod in list(self.pods):
                try:
                    is_ready = get(pod.http, "/readyz").code == 200
                except OSError:
                    is_ready = False
                (self.ready.add if is_ready else self.ready.discard)(pod)
            time.sleep(self.every)

    async def listen(self):
        self.server = await asyncio.start_server(self.accept, self.host, self.port, backlog=512)

    async def accept(self, reader, writer):
        there = [p for p in self.pods if p in self.ready and p not in self.leaving]
        if not there:
            writer.close()
            return
        pod = there[self.turn % len(there)]
        self.turn += 1
        self.taken[pod] = self.taken.get(pod, 0) + 1
        self.open[pod] = self.open.get(pod, 0) + 1
        try:
            to_reader, to_writer = await asyncio.open_connection(pod.host, pod.port)
            await asyncio.gather(self.pump(reader, to_writer), self.pump(to_reader, writer))
        except OSError:
            # A client sees this as a connection that ends without a word.
            writer.close()
        finally:
            self.open[pod] -= 1

    @staticmethod
    async def pump(reader, writer):
        with contextlib.suppress(OSError):
            while True:
                data = await reader.read(65536)
                if not data:
                    break
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.close()

    def close(self):
        self.is_over.set()

        async def end():
            self.server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
        asyncio.run_coroutine_threadsafe(end(), self.loop).result(env.PATIENCE)
        self.loop.call_soon_threadsafe(self.loop.stop)
        for t in self.threads:
            t.join(env.PATIENCE)
