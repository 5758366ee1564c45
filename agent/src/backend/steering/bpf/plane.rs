//! The kernel as a data plane: the program at the ports and its table, put in force and read back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt as _, TryStreamExt as _};
use libbpf_rs::{TC_EGRESS, TC_INGRESS, TcHook};
use rtnetlink::Handle;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::packet_route::tc::{TcAttribute, TcFilterBpfOption, TcMessage, TcOption};
use tokio_util::task::AbortOnDropHandle;

use super::kernel::{Kernel, version};
use super::place::Resolvers;
use super::probe::{self, Port};
use crate::backend::steering::plane::{Plane, Unserved};
use crate::backend::steering::program::{Found, Interfaces, Program};
use crate::backend::steering::state::{Counter, ResolverState};
use crate::backend::steering::table::{counters_of, table};
use crate::backend::{BoxFuture, MacAddress};
use tranche_steering::{ApplicationConfig, HealthCheck, ResolverConfig};

/// Which of the filters of a hook are ours, with the tag of the state directory.
const FILTER: u32 = 0x0100_0000;
/// Before other filters, which see what is passed.
const PRIORITY: u32 = 2;

/// The steering of one node on this machine.
pub(super) struct BpfPlane {
    handle: Handle,
    /// Held by who lists something: the kernel lists for one at a time on a socket, and is busy for the others.
    listing: tokio::sync::Mutex<()>,
    _connection: AbortOnDropHandle<()>,
    kernel: Arc<Mutex<Option<Arc<Kernel>>>>,
    /// Loaded at the start for the first rules.
    spare: Mutex<Option<Kernel>>,
    filter: u32,
    resolvers: Resolvers,
}

impl BpfPlane {
    /// In the network namespace of this thread.
    pub(super) async fn open(state_dir: &Path) -> Result<Self, String> {
        let state_dir = std::path::absolute(state_dir).map_err(|error| error.to_string())?;
        let hash = state_dir
            .as_os_str()
            .as_encoded_bytes()
            .iter()
            .fold(0x811c_9dc5_u32, |hash, byte| {
                (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
            });
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|error| error.to_string())?;
        let connection = AbortOnDropHandle::new(tokio::spawn(connection));
        // What cannot be loaded now cannot be loaded when it is configured. The kernel takes long to verify it, so that the first
        // rules find it done.
        let spare = blocking(Kernel::load).await?;
        Ok(Self {
            handle,
            listing: tokio::sync::Mutex::default(),
            _connection: connection,
            kernel: Arc::default(),
            spare: Mutex::new(Some(spare)),
            resolvers: Resolvers::open(&state_dir)?,
            filter: FILTER | (hash ^ (hash >> 24)) & 0x00ff_ffff,
        })
    }

    async fn links(&self, ends: &[&str]) -> Result<Vec<(String, Found)>, String> {
        let listing = self.listing.lock().await;
        let all = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect::<Vec<_>>()
            .await;
        drop(listing);
        let all = all.map_err(|error| format!("the interfaces cannot be listed: {error}"))?;
        let mut links = Vec::with_capacity(all.len());
        for message in &all {
            let (name, mut found) = link(message);
            if ends.contains(&name.as_str()) {
                found.other_end = self.other_end(message).await;
            }
            links.push((name, found));
        }
        Ok(links)
    }

    /// An interface as a probe needs it.
    async fn port<'a>(&self, name: &'a str) -> Result<Port<'a>, String> {
        let mut found = self
            .handle
            .link()
            .get()
            .match_name(name.to_owned())
            .execute();
        match found.try_next().await {
            Ok(Some(message)) => Ok(Port {
                name,
                found: link(&message).1,
            }),
            Ok(None) | Err(_) => Err(format!("there is no interface {name}")),
        }
    }

    async fn probe(
        &self,
        application: &ApplicationConfig,
        check: &HealthCheck,
    ) -> Result<(), String> {
        let port = self.port(&application.port).await?;
        if let Some(ends) = check.icmp_echo {
            return probe::icmp_echo(&port, ends).await;
        }
        if let Some(to) = check.tcp {
            return probe::tcp(&port, to.ends, to.destination_port)
                .await
                .map(drop);
        }
        if let Some(request) = &check.http {
            return probe::http(&port, request).await;
        }
        let back = self.port(application.return_port()).await?;
        probe::pass_through(&port, &back, application.destination_mac).await
    }

    /// The address of the other end of a pair, in whatever namespace it is.
    async fn other_end(&self, message: &LinkMessage) -> Option<MacAddress> {
        let (mut index, mut namespace, mut is_pair) = (None, None, false);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::Link(other) => index = Some(*other),
                LinkAttribute::LinkNetNsId(id) => namespace = Some(*id),
                LinkAttribute::LinkInfo(info) => {
                    is_pair = info.contains(&LinkInfo::Kind(InfoKind::Veth));
                }
                _ => {}
            }
        }
        let mut request = self
            .handle
            .link()
            .get()
            .match_index(index.filter(|_| is_pair)?);
        let attributes = &mut request.message_mut().attributes;
        attributes.extend(namespace.map(LinkAttribute::IfNetnsId));
        let found = request.execute().try_next().await.ok()??;
        Some(link(&found).1.mac)
    }

    fn kernel(&self) -> MutexGuard<'_, Option<Arc<Kernel>>> {
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The program that is there, of this agent or one before it.
    async fn find(&self) -> Result<Option<Arc<Kernel>>, String> {
        if let Some(kernel) = &*self.kernel() {
            return Ok(Some(Arc::clone(kernel)));
        }
        let programs: BTreeSet<u32> = self.attached().await?.into_values().flatten().collect();
        let found = blocking(move || Ok(programs.into_iter().find_map(Kernel::adopt)));
        let found = found.await?.map(Arc::new);
        self.kernel().clone_from(&found);
        Ok(found)
    }

    /// The interfaces with a hook, each with the number of the program in our place there. Through rtnetlink: libbpf warns of
    /// every place that is empty.
    async fn attached(&self) -> Result<BTreeMap<u32, Option<u32>>, String> {
        let fault = |error| format!("the queueing disciplines cannot be listed: {error}");
        let _listing = self.listing.lock().await;
        let disciplines = self
            .handle
            .qdisc()
            .get()
            .execute()
            .try_collect::<Vec<_>>()
            .await
            .map_err(fault)?;
        // What somebody else put there serves as well.
        let is_hook = |attribute: &TcAttribute| matches!(attribute, TcAttribute::Kind(kind) if kind == "clsact" || kind == "ingress");
        let hooks = disciplines
            .iter()
            .filter(|one| one.attributes.iter().any(is_hook));
        let mut attached = BTreeMap::new();
        for index in hooks.map(|hook| hook.header.index) {
            let filters = self.handle.traffic_filter(index).get().ingress().execute();
            let mut filters = std::pin::pin!(filters);
            let mut program = None;
            while let Some(Ok(filter)) = filters.next().await {
                if u32::from(filter.header.handle) == self.filter {
                    program = program_of(&filter).or(program);
                }
            }
            attached.insert(index.cast_unsigned(), program);
        }
        Ok(attached)
    }
}

/// The number of the program of a filter.
fn program_of(filter: &TcMessage) -> Option<u32> {
    let options = filter
        .attributes
        .iter()
        .filter_map(|attribute| match attribute {
            TcAttribute::Options(options) => Some(options),
            _ => None,
        });
    options.flatten().find_map(|option| match option {
        TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(*id),
        _ => None,
    })
}

fn hook(program: BorrowedFd<'_>, ifindex: u32, filter: u32) -> TcHook {
    let mut hook = TcHook::new(program);
    hook.ifindex(ifindex.cast_signed())
        .attach_point(TC_INGRESS)
        .handle(filter)
        .priority(PRIORITY);
    hook
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err("the agent is stopping".to_owned()))
}

fn link(message: &LinkMessage) -> (String, Found) {
    let running = LinkFlags::Up | LinkFlags::LowerUp;
    let mut name = String::new();
    let mut found = Found {
        ifindex: message.header.index,
        mac: MacAddress::default(),
        mtu: 0,
        is_up: message.header.flags.contains(running),
        other_end: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(one) => name.clone_from(one),
            LinkAttribute::Mtu(mtu) => found.mtu = *mtu,
            LinkAttribute::Address(address) => {
                found.mac = address
                    .as_slice()
                    .try_into()
                    .map(MacAddress)
                    .unwrap_or_default();
            }
            _ => {}
        }
    }
    (name, found)
}

/// Puts the program at an interface, and makes the hook where there is none.
fn attach(kernel: &Kernel, ifindex: u32, filter: u32, has_hook: bool) -> Result<(), String> {
    let fault =
        |error| format!("cannot put steering at the clsact hook of interface {ifindex}: {error}");
    let mut hook = hook(kernel.program(), ifindex, filter);
    if !has_hook {
        hook.create().map_err(fault)?;
    }
    hook.replace(true).attach().map(drop).map_err(fault)
}

impl BpfPlane {
    /// Takes our filters off the interfaces that are none of these; a hook too, if nobody else uses it.
    async fn detach_others(&self, ports: &BTreeSet<u32>) -> Result<(), String> {
        let attached = self.attached().await?.into_iter();
        let attached = attached.filter_map(|(ifindex, program)| Some((ifindex, program?)));
        // Whatever program it is, of whatever agent before this one: the place is ours.
        for (ifindex, program) in attached.filter(|(ifindex, _)| !ports.contains(ifindex)) {
            let filter = self.filter;
            let fault =
                move |error| format!("cannot take steering off interface {ifindex}: {error}");
            let program = blocking(move || {
                let program = libbpf_rs::Program::fd_from_id(program).map_err(fault)?;
                let detached = hook(program.as_fd(), ifindex, filter).detach();
                detached.map_err(fault).map(|()| program)
            });
            let program = program.await?;
            if !self.has_filters(ifindex).await {
                blocking(move || {
                    let mut hook = hook(program.as_fd(), ifindex, filter);
                    // Somebody may have been faster.
                    drop(hook.attach_point(TC_EGRESS | TC_INGRESS).destroy());
                    Ok(())
                })
                .await?;
            }
        }
        Ok(())
    }

    async fn has_filters(&self, ifindex: u32) -> bool {
        let index = ifindex.cast_signed();
        let requests = [
            self.handle.traffic_filter(index).get().egress(),
            self.handle.traffic_filter(index).get().ingress(),
        ];
        let _listing = self.listing.lock().await;
        let mut has_some = false;
        for request in requests {
            // To the end: what is left half-way keeps the socket busy.
            let filters = request.execute().collect::<Vec<_>>().await;
            has_some |= filters.iter().any(Result::is_ok);
        }
        has_some
    }

    async fn remove(&self) -> Result<(), String> {
        self.detach_others(&BTreeSet::new()).await?;
        *self.kernel() = None;
        Ok(())
    }

    async fn put(&self, program: &Program) -> Result<(), String> {
        let Some(table) = table(program, version()) else {
            return Err("the rules do not fit into a table".to_owned());
        };
        let found = self.find().await?;
        let spare = match &found {
            Some(_) => None,
            None => {
                let spare = self.spare.lock();
                spare.unwrap_or_else(PoisonError::into_inner).take()
            }
        };
        let attached = self.attached().await?;
        let ports: BTreeSet<u32> = program.ports.keys().copied().collect();
        let (filter, wanted) = (self.filter, ports.clone());
        let kernel = blocking(move || {
            let kernel = match (found, spare) {
                (Some(kernel), _) => kernel,
                (None, Some(kernel)) => Arc::new(kernel),
                (None, None) => Arc::new(Kernel::load()?),
            };
            if kernel.read()?.as_ref() != Some(&table) {
                kernel.write(&table)?;
            }
            for ifindex in wanted {
                let there = attached.get(&ifindex);
                if there != Some(&Some(kernel.id())) {
                    attach(&kernel, ifindex, filter, there.is_some())?;
                }
            }
            match kernel.read()?.as_ref() == Some(&table) {
                true => Ok(kernel),
                false => Err("the kernel did not take the table".to_owned()),
            }
        });
        let kernel = kernel.await?;
        let id = kernel.id();
        *self.kernel() = Some(kernel);
        self.detach_others(&ports).await?;
        let attached = self.attached().await?;
        match ports
            .iter()
            .find(|port| attached.get(port) != Some(&Some(id)))
        {
            None => Ok(()),
            Some(port) => Err(format!(
                "steering is not at interface {port} after it was put there"
            )),
        }
    }

    async fn matches(&self, program: Option<&Program>) -> Result<bool, String> {
        let attached = self.attached().await?;
        let found = self.find().await?;
        let there: BTreeMap<u32, u32> = attached
            .into_iter()
            .filter_map(|(ifindex, program)| Some((ifindex, program?)))
            .collect();
        let (Some(kernel), Some(program)) = (found, program) else {
            return Ok(program.is_none() && there.is_empty());
        };
        let wanted = program
            .ports
            .keys()
            .map(|ifindex| (*ifindex, kernel.id()))
            .collect();
        if there != wanted {
            return Ok(false);
        }
        let table = table(program, version());
        blocking(move || Ok(kernel.read()? == table)).await
    }
}

impl Plane for BpfPlane {
    fn interfaces<'a>(
        &'a self,
        names: &'a [&'a str],
        ends: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Interfaces, String>> {
        Box::pin(async move {
            let links = self.links(ends).await?.into_iter();
            Ok(links
                .filter(|(name, _)| names.contains(&name.as_str()))
                .collect())
        })
    }

    fn serve<'a>(
        &'a self,
        resolvers: &'a [ResolverConfig],
    ) -> BoxFuture<'a, Result<Vec<String>, Unserved>> {
        Box::pin(self.resolvers.serve(resolvers))
    }

    fn resolvers(&self) -> BoxFuture<'_, Vec<ResolverState>> {
        Box::pin(self.resolvers.states())
    }

    fn probe<'a>(
        &'a self,
        application: &'a ApplicationConfig,
        check: &'a HealthCheck,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(self.probe(application, check))
    }

    fn install<'a>(&'a self, program: Option<&'a Program>) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            match program {
                Some(program) => self.put(program).await,
                None => self.remove().await,
            }
        })
    }

    fn is_in_force<'a>(
        &'a self,
        program: Option<&'a Program>,
    ) -> BoxFuture<'a, Result<bool, String>> {
        Box::pin(self.matches(program))
    }

    fn recover(&self) -> BoxFuture<'_, Result<HashMap<u64, u32>, String>> {
        Box::pin(async move {
            let Some(kernel) = self.find().await? else {
                return Ok(HashMap::new());
            };
            blocking(move || {
                Ok(kernel
                    .read()?
                    .map(|table| counters_of(&table))
                    .unwrap_or_default())
            })
            .await
        })
    }

    fn counters(&self, positions: Vec<u32>) -> BoxFuture<'_, Result<Vec<Counter>, String>> {
        Box::pin(async move {
            let Some(kernel) = self.find().await? else {
                return Ok(vec![Counter::default(); positions.len()]);
            };
            blocking(move || {
                positions
                    .into_iter()
                    .map(|position| kernel.counter(position))
                    .collect()
            })
            .await
        })
    }

    fn clear(&self, positions: Vec<u32>) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            // A program that is loaded later begins at nothing.
            let Some(kernel) = self.find().await? else {
                return Ok(());
            };
            blocking(move || {
                positions
                    .into_iter()
                    .try_for_each(|position| kernel.clear(position))
            })
            .await
        })
    }
}
