//! Requests to the kernel over rtnetlink, one at a time.

use std::{
    collections::HashMap,
    future::{Future, ready},
    net::IpAddr,
    time::Duration,
};

use futures_util::{Stream, StreamExt, TryStreamExt};
use netlink_packet_route::{
    AddressFamily,
    neighbour::{NeighbourFlags, NeighbourState},
    route::{RouteAttribute, RouteMessage},
};
use rtnetlink::{Handle, IpVersion};
use tokio::{task::JoinHandle, time::timeout};

use super::{
    Error, decode,
    facts::{Answer, Facts, KernelRoute, Link, Neighbour, NeighbourKey, Rule},
    prefix,
};

/// Time the kernel has for one answer. A dump of a full Internet table takes about a second.
const LIMIT: Duration = Duration::from_secs(10);

/// A netlink connection; closed when dropped.
pub(super) struct Client {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Client {
    /// Connects to the kernel of the calling thread's network namespace.
    pub(super) fn open() -> Result<Self, Error> {
        let (connection, handle, _unsolicited) = rtnetlink::new_connection().map_err(Error::Open)?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// Reads everything, with the kernel's answer for each of `targets`.
    pub(super) async fn facts(&self, targets: &[IpAddr]) -> Result<Facts, Error> {
        Ok(Facts {
            links: self.links().await?,
            addresses: self.addresses().await?,
            rules: self.rules().await?,
            routes: self.routes().await?,
            answers: self.answers(targets).await?,
            neighbours: self.neighbours().await?,
        })
    }

    /// Reads the neighbour tables of both families.
    pub(super) async fn neighbours(&self) -> Result<HashMap<NeighbourKey, Neighbour>, Error> {
        let entries = self.handle.neighbours().get().execute();
        collect("neighbours", entries, decode::neighbour).await.map(HashMap::from_iter)
    }

    /// Has the kernel resolve or confirm a neighbour, as if its own stack were about to send there
    /// (`NTF_USE`, `net/core/neighbour.c`). The outcome arrives as a notification. Not for entries fixed by hand:
    /// the kernel would take them for ordinary ones from then on (`__neigh_update`).
    pub(super) async fn confirm(&self, (ifindex, address): NeighbourKey) -> Result<(), Error> {
        let request = self.handle.neighbours().add(ifindex, address);
        let request = request.state(NeighbourState::None).flags(NeighbourFlags::Use).replace();
        let what = "a neighbour to be resolved";
        in_time(what, request.execute()).await?.map_err(|source| Error::Request { what, source })
    }

    async fn links(&self) -> Result<Vec<Link>, Error> {
        collect("interfaces", self.handle.link().get().execute(), decode::link).await
    }

    async fn addresses(&self) -> Result<Vec<(u32, IpAddr)>, Error> {
        collect("addresses", self.handle.address().get().execute(), decode::address).await
    }

    /// One dump for all families: asking for IPv6 alone is an error where IPv6 is off.
    async fn rules(&self) -> Result<Vec<Rule>, Error> {
        let mut request = self.handle.rule().get(IpVersion::V4);
        request.message_mut().header.family = AddressFamily::Unspec;
        collect("policy rules", request.execute(), decode::rule).await
    }

    async fn routes(&self) -> Result<Vec<KernelRoute>, Error> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let request = self.handle.route().get(any_route(family));
            routes.extend(collect("routes", request.execute(), decode::route).await?);
        }
        Ok(routes)
    }

    async fn answers(&self, targets: &[IpAddr]) -> Result<HashMap<IpAddr, Result<Answer, String>>, Error> {
        let mut answers = HashMap::with_capacity(targets.len());
        for target in targets {
            answers.insert(*target, self.answer(*target).await?);
        }
        Ok(answers)
    }

    /// How the kernel would send to `target` now, rules and metrics included; inside, why it would not.
    async fn answer(&self, target: IpAddr) -> Result<Result<Answer, String>, Error> {
        const WHAT: &str = "the route to a backend";
        let mut replies = Box::pin(self.handle.route().get(route_to(target)).execute());
        match in_time(WHAT, replies.next()).await? {
            Some(Ok(reply)) => Ok(Ok(decode::answer(&reply))),
            Some(Err(rtnetlink::Error::NetlinkError(refusal))) => Ok(Err(refusal.to_io().to_string())),
            Some(Err(source)) => Err(Error::Request { what: WHAT, source }),
            None => Ok(Err("no answer".to_owned())),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn any_route(family: AddressFamily) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message
}

fn route_to(target: IpAddr) -> RouteMessage {
    let family = if target.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let mut message = any_route(family);
    message.header.destination_prefix_length = prefix::bits(target);
    message.attributes.push(RouteAttribute::Destination(target.into()));
    message
}

/// All of a dump that `pick` has a use for.
async fn collect<M, T>(
    what: &'static str,
    dump: impl Stream<Item = Result<M, rtnetlink::Error>>,
    pick: impl Fn(&M) -> Option<T>,
) -> Result<Vec<T>, Error> {
    let picked = dump.try_filter_map(|message| ready(Ok(pick(&message)))).try_collect();
    in_time(what, picked).await?.map_err(|source| Error::Request { what, source })
}

async fn in_time<T>(what: &'static str, answer: impl Future<Output = T>) -> Result<T, Error> {
    timeout(LIMIT, answer).await.map_err(|_| Error::Timeout { what, limit: LIMIT })
}
