"""The composition root: settings become a running process, which drains on SIGTERM.

Which work it does is said by its role, or by its part of one (`roles`).
"""

import asyncio
import logging
import signal
import ssl
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack, suppress

from listserv import process
from listserv.flows import restoring
from listserv.net import authenticator, sockets
from listserv.net.content import Budget
from listserv.net.doorway import Doorway
from listserv.net.listener import Door, Limits, Listener, open_doors
from listserv.net.relay import Relay
from listserv.net.routes import Smarthost, Tls
from listserv.node import Node
from listserv.roles import Part, Role, Work, locked, works
from listserv.settings import Listen, Settings, UnixSocket
from listserv.store import queue, restored, schema
from listserv.store.db import Tx
from listserv.web.app import create_app
from listserv.web.server import Pages
from listserv.workers import clerk
from listserv.workers.clerk import Clerk
from listserv.workers.clock import Clock
from listserv.workers.deliverer import Deliverer
from listserv.workers.distributor import Distributor
from listserv.workers.loop import Worker
from listserv.workers.reception import Reception
from listserv.workers.watermark import Watermark

log = logging.getLogger("listserv")

GRACE = 30.0  # seconds for what is under way when we are told to stop
LAST_SECONDS = 3.0  # after them, for what is closed at the end


def doorway(role: Role, settings: Settings) -> Doorway:
    """Where all parts of a role that receive let people in; nothing where none does.  Raises OSError."""
    receives = Work.SMTP in works(role)
    return Doorway(open_doors(_doors(settings)) if receives else (), settings.workers.receivers)


class Daemon:
    """`run` serves until `stop`; `ready` is called once, when everything is open.

    Without `part` it does all the work of `role` and sees to the locks; a part's parent has done so, and opened the
    `doorway`.
    """

    def __init__(
        self,
        node: Node,
        role: Role = Role.ALL,
        part: Part | None = None,
        doorway: Doorway | None = None,
        *,
        grace: float = GRACE,
    ) -> None:
        self.node = node if part is None else node.in_slot(part.slot)
        self.role = role
        self.part = part
        self._works = part.works if part else works(role)
        self._budget = Budget(_limits(node.settings).memory)
        self._authenticator = authenticator.configured(node.settings) if Work.SMTP in self._works else None
        data_dir = node.settings.site.data_dir
        receivers = doorway.processes if doorway else 1
        self._reception = Reception(node.db, node.site, node.clock, data_dir, self._authenticator, receivers)
        self.listener = _listener(node, self._reception, self._budget, doorway) if Work.SMTP in self._works else None
        self.pages: Pages | None = None
        self._grace = grace
        self._stop = asyncio.Event()
        self._ending: list[Callable[[], None]] = [self._reception.close]
        self._deliverer: Deliverer | None = None
        self._clerk = Clerk(node.db, node.journal, node.site.node, node.clock)
        self._workers = self._make_workers()

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        async with AsyncExitStack() as stack:
            if self.part is None:
                stack.enter_context(locked(self.node.settings.site.data_dir, self.role))
            for end in self._ending:
                stack.callback(end)
            await self._open(stack)
            async with asyncio.TaskGroup() as tasks:
                working = [tasks.create_task(worker.run(), name=worker.name) for worker in self._workers]
                if self._deliverer:
                    working.append(tasks.create_task(self._deliverer.run(), name="deliverer"))
                listening = self.node.db.listen(self._heard) if working else asyncio.sleep(0)  # who waits for no rows?
                listens = tasks.create_task(listening, name="bells")
                ready()
                await self._stop.wait()
                await self._drain(working)
                listens.cancel()

    def stop(self) -> None:
        self._stop.set()

    def doors(self) -> list[str]:
        """Where this process listens: `smtp 127.0.0.1:8025`."""
        named = []
        if self.listener:
            smtp = len(self.node.settings.smtp.listen)
            for place, bound in enumerate(self.listener.bound):
                named.append(f"{'smtp' if place < smtp else 'lmtp'} {sockets.shown(bound)}")
        return named + [f"http {listen}" for listen in (self.pages.bound if self.pages else ())]

    def reload(self, settings: Settings) -> None:
        """SIGHUP: texts and limits anew; keys, ports and the database need a restart."""
        self.node.site.texts.reload()
        if self.listener:
            self.listener.reload(_limits(settings))

    async def _open(self, stack: AsyncExitStack) -> None:
        """Doors first: a second daemon ends here before it takes anything from the first one.

        Before them, only what came by other doors waits in a restored database.
        """
        settings = self.node.settings
        if self.part is None and Work.DELIVERY in self._works:
            await asyncio.to_thread(look_back, self.node)
        if self._authenticator:
            stack.push_async_callback(self._authenticator.close)
        if self.listener:
            await self.listener.start()
            stack.push_async_callback(self.listener.stop, 0.0)
        if Work.WEB in self._works and settings.http.listen:
            app = create_app(self.node.site, self.node.db, self.node.clock)
            self.pages = Pages(app, settings.http.listen)
            await self.pages.start()
            stack.push_async_callback(self.pages.stop, 0.0)
        if self._works & {Work.DISTRIBUTION, Work.DELIVERY}:
            await self.node.db.write(give_back, self.node, whole=self.part is None)
        if Work.DELIVERY in self._works:
            connections = settings.relay.connections
            lines = self.part.lines(connections) if self.part else connections
            relay = Relay(_smarthost(settings, lines))
            stack.push_async_callback(relay.close, 5.0)
            self._deliverer = Deliverer(
                self.node.db,
                self.node.site,
                relay,
                self.node.keys.signers,
                lines,
                self.node.clock,
                self._budget,
                Watermark(settings.site.data_dir, self.node.site.slot).reach,
            )

    def _make_workers(self) -> list[Worker]:
        """The clerk is where the rest is: one of a node's processes carries what they have all written."""
        node = self.node
        workers = []
        if self.part is None or self.part.is_main:
            workers.append(Worker("clerk", self._clerk.once, schema.journal, pause=clerk.PAUSE))
        if Work.DISTRIBUTION in self._works:
            distributor = Distributor(
                node.db, node.site, node.clock, lambda: node.keys.names, self._budget, self._reception.rush
            )
            self._ending.append(distributor.close)
            clock = Clock(node.db, node.site, node.clock)
            once, nap, rest, finish = distributor.once, distributor.nap, distributor.rest, distributor.finish
            workers.append(Worker("distributor", once, schema.posts, nap, rest, finish=finish))
            workers.append(Worker("clock", clock.once, schema.jobs, clock.nap))
        return workers

    def _heard(self, rung: Collection[str]) -> None:
        """Something was committed, here or elsewhere: whoever has work in those tables looks for it now."""
        for worker in self._workers:
            if worker.table.name in rung:
                worker.bell.ring()
        if self._deliverer and schema.deliveries.name in rung:
            self._deliverer.bell.ring()

    async def _drain(self, working: list[asyncio.Task[None]]) -> None:
        """No new mail, no new claims; what is under way ends, or is given up when the grace is over."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._grace
        for door in (self.listener, self.pages):
            if door:
                await door.stop(max(0.0, ends - loop.time()))
        if self._deliverer:
            self._deliverer.stop()
        for worker in self._workers:
            worker.stop()
        if working:
            await asyncio.wait(working, timeout=max(1.0, ends - loop.time()))
        for task in working:
            task.cancel()
        with suppress(Exception):  # a full disk: the rows are there, and the next start writes them
            while await self._clerk.once():
                pass


async def serve(
    node: Node,
    role: Role,
    reread: Callable[[], Settings | None],
    ready: Callable[["Daemon"], None],
    part: Part | None = None,
    doorway: Doorway | None = None,
) -> None:
    """A daemon that obeys SIGTERM, SIGINT and SIGHUP."""
    process.raise_descriptors()
    process.return_memory()
    daemon = Daemon(node, role, part, doorway)
    loop = asyncio.get_running_loop()

    def hang_up() -> None:
        settings = reread()
        if settings is not None:
            daemon.reload(settings)
            log.info("settings, texts and limits are read anew")
            _name_wrong_texts(node)
            waiting = node.settings.waits_for_restart(settings)
            if waiting and (part is None or part.is_main):
                log.warning("changed, and in force after a restart only: %s", ", ".join(waiting))

    def stop() -> None:
        daemon.stop()
        process.end_within(GRACE + LAST_SECONDS)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, hang_up)

    def is_ready() -> None:
        _name_wrong_texts(node)
        process.keep_what_is_there()
        ready(daemon)
        if part is None:
            process.notify_systemd("READY=1")

    await daemon.run(is_ready)


def _name_wrong_texts(node: Node) -> None:
    for fault in node.site.texts.faults:
        log.error("a text is not used, but ours in its place: %s", fault)


def look_back(node: Node) -> None:
    """Before anything is claimed: what a restored database has brought along is held, and that is said."""
    reached = Watermark(node.settings.site.data_dir, 0).highest()
    held = node.db.write_now(restoring.look_back, node.site, reached, node.clock())
    node.db.write_now(restored.catch_up, reached)
    if held:
        log.error("%s until you say so: %s", restoring.said(held), restoring.MEND)


def give_back(tx: Tx, node: Node, *, whole: bool) -> None:
    """What a former run had in hand is due again: of this process, or of all that this node ever had."""
    for table in (schema.posts, schema.deliveries, schema.jobs):
        queue.give_back(tx, table, node.site.claimant, node.clock(), below=whole)


def _doors(settings: Settings) -> list[Door]:
    doors = [Door(_address(listen)) for listen in settings.smtp.listen]
    return doors + [Door(_address(listen), lmtp=True) for listen in settings.lmtp.listen]


def _listener(node: Node, reception: Reception, budget: Budget, doorway: Doorway | None) -> Listener:
    settings = node.settings
    return Listener(
        _doors(settings),
        settings.site.hostname,
        reception,
        node.clock,
        _limits(settings),
        _tls(settings),
        settings.smtp.trusted_networks,
        budget,
        doorway,
    )


def _limits(settings: Settings) -> Limits:
    smtp = settings.smtp
    return Limits(
        max_message_bytes=smtp.max_message_bytes,
        max_recipients=smtp.max_recipients,
        max_connections=smtp.max_connections,
        max_connections_per_address=smtp.max_connections_per_address,
        idle_timeout=float(smtp.idle_timeout_seconds),
        session_timeout=float(smtp.session_timeout_seconds),
    )


def _tls(settings: Settings) -> ssl.SSLContext | None:
    smtp = settings.smtp
    if smtp.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(smtp.tls_cert, smtp.tls_key)
    return context


def _address(listen: Listen) -> tuple[str, int] | str:
    return str(listen.path) if isinstance(listen, UnixSocket) else (listen.host, listen.port)


def _smarthost(settings: Settings, connections: int) -> Smarthost:
    relay = settings.relay
    return Smarthost(
        host=relay.host,
        port=relay.port,
        tls=Tls(relay.tls.value),
        username=relay.username,
        password=relay.password(),
        hostname=settings.site.hostname,
        connections=connections,
    )
