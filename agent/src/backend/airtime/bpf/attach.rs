//! What holds a vif's packets and who decides how long: the root qdisc `fq` and the program at the clsact hook.

use std::os::fd::BorrowedFd;

use futures_util::{StreamExt as _, TryStreamExt as _};
use libbpf_rs::{TC_EGRESS, TC_INGRESS, TcHook};
use rtnetlink::Handle;
use rtnetlink::packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};

/// Packets that fq holds at most: `max-delay` at the rates of today's radios stays far below.
const PACKETS: u32 = 20_000;
/// Of them of one flow: less, and fq drops before the scheduler does.
const PACKETS_OF_A_FLOW: u32 = 10_000;
const TCA_FQ_PLIMIT: u16 = 1;
const TCA_FQ_FLOW_PLIMIT: u16 = 2;
/// Which of the filters of a hook is ours.
const FILTER: u32 = 1;
const ENOENT: i32 = 2;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;

/// A program for the hook, with its number in the kernel.
pub(super) type Egress<'a> = (BorrowedFd<'a>, u32);

/// Whether an interface is held by `fq` and decided by the program.
pub(super) async fn is_attached(
    handle: &Handle,
    ifindex: u32,
    egress: Egress<'_>,
) -> Result<bool, String> {
    Ok(program_of(ifindex, egress) == Some(egress.1)
        && root_kind(handle, ifindex).await?.as_deref() == Some("fq"))
}

/// Puts `fq` and the program on an interface, and reads both back.
pub(super) async fn attach(
    handle: &Handle,
    ifindex: u32,
    egress: Egress<'_>,
) -> Result<(), String> {
    if root_kind(handle, ifindex).await?.as_deref() != Some("fq") {
        set_fq(handle, ifindex).await?;
    }
    if program_of(ifindex, egress) != Some(egress.1) {
        let mut hook = hook(ifindex, egress);
        let fault = |error| format!("cannot put the scheduler at the clsact hook: {error}");
        hook.create().map_err(fault)?;
        hook.replace(true).attach().map_err(fault)?;
    }
    match is_attached(handle, ifindex, egress).await? {
        true => Ok(()),
        false => Err("the scheduler is not at the interface after it was put there".to_owned()),
    }
}

/// Takes the program and `fq` off an interface; the hook too, if nobody else uses it. Nothing if it is gone.
pub(super) async fn detach(
    handle: &Handle,
    ifindex: u32,
    egress: Egress<'_>,
) -> Result<(), String> {
    if program_of(ifindex, egress) == Some(egress.1) {
        hook(ifindex, egress)
            .detach()
            .map_err(|error| format!("cannot take the scheduler off: {error}"))?;
    }
    if !has_filters(handle, ifindex).await {
        // Somebody may have been faster.
        drop(
            hook(ifindex, egress)
                .attach_point(TC_EGRESS | TC_INGRESS)
                .destroy(),
        );
    }
    if root_kind(handle, ifindex).await?.as_deref() == Some("fq") {
        let mut request = handle.qdisc().del(index(ifindex));
        request.message_mut().header.parent = TcHandle::ROOT;
        match request.execute().await {
            Err(error) if !is_gone(&error) => return Err(format!("cannot take fq off: {error}")),
            _ => {}
        }
    }
    Ok(())
}

fn index(ifindex: u32) -> i32 {
    ifindex.cast_signed()
}

fn hook(ifindex: u32, egress: Egress<'_>) -> TcHook {
    let mut hook = TcHook::new(egress.0);
    hook.ifindex(index(ifindex))
        .attach_point(TC_EGRESS)
        .handle(FILTER)
        .priority(FILTER);
    hook
}

/// The number of the program in our place at the hook.
fn program_of(ifindex: u32, egress: Egress<'_>) -> Option<u32> {
    hook(ifindex, egress).query().ok()
}

async fn has_filters(handle: &Handle, ifindex: u32) -> bool {
    for request in [
        handle.traffic_filter(index(ifindex)).get().egress(),
        handle.traffic_filter(index(ifindex)).get().ingress(),
    ] {
        let mut filters = std::pin::pin!(request.execute());
        if matches!(filters.next().await, Some(Ok(_))) {
            return true;
        }
    }
    false
}

/// The kind of the root qdisc, where one was set or made by default.
async fn root_kind(handle: &Handle, ifindex: u32) -> Result<Option<String>, String> {
    let all = handle.qdisc().get().index(index(ifindex)).execute();
    let all: Vec<TcMessage> = match all.try_collect().await {
        Err(error) if is_gone(&error) => Vec::new(),
        all => all.map_err(|error| format!("cannot read the queueing discipline: {error}"))?,
    };
    let root = all
        .iter()
        .find(|one| one.header.index == index(ifindex) && one.header.parent == TcHandle::ROOT);
    Ok(root.and_then(|root| {
        root.attributes
            .iter()
            .find_map(|attribute| match attribute {
                TcAttribute::Kind(kind) => Some(kind.clone()),
                _ => None,
            })
    }))
}

async fn set_fq(handle: &Handle, ifindex: u32) -> Result<(), String> {
    let option =
        |kind, value: u32| TcOption::Other(DefaultNla::new(kind, value.to_ne_bytes().to_vec()));
    let mut message = TcMessage::with_index(index(ifindex));
    message.header.parent = TcHandle::ROOT;
    message.attributes = vec![
        TcAttribute::Kind("fq".to_owned()),
        TcAttribute::Options(vec![
            option(TCA_FQ_PLIMIT, PACKETS),
            option(TCA_FQ_FLOW_PLIMIT, PACKETS_OF_A_FLOW),
        ]),
    ];
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewQueueDiscipline(message));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    let mut handle = handle.clone();
    let mut answers = handle.request(request).map_err(|error| error.to_string())?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload
            && error.code.is_some()
        {
            return Err(match error.raw_code().abs() {
                ENOENT => "this kernel has no packet scheduler fq (module sch_fq)".to_owned(),
                _ => format!("cannot put fq on the interface: {}", error.to_io()),
            });
        }
    }
    Ok(())
}

fn is_gone(error: &rtnetlink::Error) -> bool {
    match error {
        rtnetlink::Error::NetlinkError(message) => {
            matches!(message.raw_code().abs(), ENOENT | ENODEV | EINVAL)
        }
        _ => false,
    }
}
