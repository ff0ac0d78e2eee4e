"""The running hub: its parts, and how they are wired."""

from embryofl_server.audit.log import AuditLog
from embryofl_server.federation.bell import Bell
from embryofl_server.federation.blobs import SignedUrls, Uploads
from embryofl_server.federation.conductor import Conductor
from embryofl_server.federation.mailboxes import Mailboxes
from embryofl_server.federation.model_distribution import ModelDistribution
from embryofl_server.federation.run_context import RunContext
from embryofl_server.federation.superlink import SuperLink
from embryofl_server.members.authority import Authority
from embryofl_server.members.contact import Contact
from embryofl_server.members.identity import HubIdentity
from embryofl_server.members.keys import GatewayKeys, KeySync
from embryofl_server.members.membership import MembershipService
from embryofl_server.members.store import ClinicStore
from embryofl_server.monitor.alerts import Alerts
from embryofl_server.monitor.exporter import Exporter
from embryofl_server.monitor.overview import Overview
from embryofl_server.monitor.presence import Presence
from embryofl_server.runs.log import Runs
from embryofl_server.runs.progress import Progress
from embryofl_server.runs.view import RunViews
from embryofl_server.settings import HubSettings
from embryofl_server.state import database
from embryofl_server.state.people import People
from embryofl_server.state.provider import Provider, provider_of
from embryofl_server.state.requests import Requests
from embryofl_server.state.signer.authority import Authority as SigningAuthority
from embryofl_server.state.signer.authority import Signer


class Hub:
    """Everything behind the API.

    Parameters
    ----------
    settings : HubSettings
        Its state folder is made when missing.
    signer : Signer, optional
        By default one in this process: programs that serve others give one that is not.
    """

    def __init__(self, settings: HubSettings, signer: Signer | None = None) -> None:
        self.settings = settings
        state = settings.state_dir
        state.mkdir(parents=True, exist_ok=True)
        database.check_folder(state)
        self.identity = HubIdentity(state / "identity", signer or SigningAuthority(settings))
        self.store = ClinicStore(state / "clinics.db")
        self.audit = AuditLog(state / "audit.jsonl", self.store, self.identity.audit_key, settings.audit_anchor)
        self.people = People(self.store, self.identity.console / "sessions.json")
        self.provider: Provider | None = provider_of(settings)
        self.requests = Requests(self.store)
        self.runs = Runs(state / "runs")
        self.views = RunViews(self.runs)
        self.progress = Progress()
        self.uploads = Uploads(state / "uploads")
        self.mailboxes = Mailboxes(self.uploads.arrived)
        self.urls = SignedUrls(self.identity.url_key, lambda name: name in self.store.admitted())
        self.finished = ModelDistribution(self.views, settings.weights, self.urls)
        self.bell, secret = Bell(), self.identity.superexec_secret
        superlink = SuperLink(settings.superlink_address, self.identity.internal, secret, self.bell.ring)

        # members
        self.contact = Contact(settings.addresses, settings.tunnel_file, self.identity)
        self.authority = Authority(self.identity, self.store, self.audit, settings.certificate_days)
        gateway = GatewayKeys(self.identity.gateway / "clinics", self.store)
        self.key_sync = KeySync(gateway, superlink.admit, self.store, lambda: self.runs.next() is None)
        self.membership = MembershipService(
            self.store,
            self.audit,
            self.key_sync,
            self.authority,
            self.contact,
            settings.invite_days,
            manual=settings.by_hand,
            manual_here=settings.approval == "manual",
        )

        # runs
        context = RunContext(
            fleet=superlink,
            store=self.store,
            urls=self.urls,
            uploads=self.uploads,
            mailboxes=self.mailboxes,
            progress=self.progress,
            audit=self.audit.write,
            suspend=lambda name, reason: self.membership.suspend(name, reason, "the gate"),
            idle_at=self.membership.idle_at,
        )
        self.conductor = Conductor(self.runs, context, settings.weights, settings.keep_checkpoints)

        # what people see
        self.presence = Presence(superlink.presence, state / "last_seen.json")
        self.overview = Overview(self.views, self.progress, self.store, self.presence, self.membership.sessions)
        self.exporter = Exporter(settings, self.overview, self.identity, self.contact)
        self.alerts = Alerts(state, self.identity, self.contact)

    def start(self) -> None:
        """Begin to conduct runs; an unfinished one is resumed at once."""
        self.audit.write("hub_started")
        for part in (self.exporter, self.key_sync, self.authority, self.conductor):
            part.start()

    def close(self) -> None:
        """Stop between two steps; the run under way is resumed at the next start."""
        for part in (self.conductor, self.exporter, self.key_sync, self.authority):
            part.close()
        self.audit.write("hub_stopped")
        self.store.close()

    def rename(self, old: str, new: str, by: str) -> None:
        """Give a clinic another name. `UserError` as `MembershipService.rename`, and while a run is under way: its record,
        order and seeds go by the clinics' names."""
        with self.conductor.between_runs(f"Its files go by the clinics' names: rename {old} when it is over."):
            self.membership.rename(old, new, by)
