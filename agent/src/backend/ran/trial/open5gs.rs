//! Cores of Open5GS 2.7 or later: `amf.yaml` and `mme.yaml` of what slice profiles go to.
//!
//! What `tranche-ran` does not know is what a package of Open5GS has: addresses of its other functions, and the timer that an AMF
//! does not start without. Identities of cores count in the order of the configuration, so that two are never the same.

use std::net::IpAddr;

use super::yaml::Yaml;
use super::{Snssai, Trial, TrialFile, add, in_service, plmn, snssai};
use crate::backend::ran::{CoreConfig, CoreKind, RanConfig};
use crate::backend::{Refusal, Why};

/// Tracking areas of one registration area (TS 24.501 9.11.3.9, TS 24.301 9.9.3.33), which Open5GS makes of the whole list.
const MAX_TAIS: usize = 16;
/// PLMNs of an AMF (TS 38.413 maxnoofPLMNs).
const MAX_PLMNS_AMF: usize = 12;
/// PLMNs of an MME (TS 36.413 maxnoofPLMNsPerMME).
const MAX_PLMNS_MME: usize = 32;
/// The region of all AMFs, and the group of all MMEs.
const REGION: u64 = 2;

/// A PLMN of a core.
pub(super) struct Network<'a> {
    pub(super) mcc: &'a str,
    pub(super) mnc: &'a str,
    pub(super) tacs: Vec<u32>,
    pub(super) slices: Vec<Snssai<'a>>,
}

impl Network<'_> {
    fn plmn_id(&self) -> Yaml {
        Yaml::Map(plmn(self.mcc, self.mnc))
    }
}

/// Adds the files of all cores that slice profiles in service go to.
pub(super) fn render(ran: &RanConfig, trial: &mut Trial) -> Result<(), Refusal> {
    let mut taken: Vec<&CoreConfig> = Vec::new();
    for kind in [CoreKind::Amf, CoreKind::Mme] {
        let cores = ran.cores.iter().filter(|core| core.kind == kind);
        for (number, core) in (1..).zip(cores) {
            let networks = networks(ran, core);
            if networks.is_empty() {
                let reason = "no slice profile in service goes to it";
                trial.skip(format!("core {}", core.name), reason);
                continue;
            }
            check(core, &networks, &taken)?;
            taken.push(core);
            let (name, text) = match kind {
                CoreKind::Amf => ("amf", amf(core, number, &networks)),
                CoreKind::Mme => ("mme", mme(core, number, &networks)),
            };
            let name = format!("{name}-{}.yaml", core.name);
            trial.files.push(TrialFile { name, text });
        }
    }
    Ok(())
}

/// The PLMNs of a core, in the order of its slice profiles.
pub(super) fn networks<'a>(ran: &'a RanConfig, core: &CoreConfig) -> Vec<Network<'a>> {
    let mut networks: Vec<Network<'a>> = Vec::new();
    for (profile, cell) in in_service(ran).filter(|(one, _)| one.cores.contains(&core.name)) {
        let (mcc, mnc) = (profile.mcc.as_str(), profile.mnc.as_str());
        let known = networks
            .iter()
            .position(|one| (one.mcc, one.mnc) == (mcc, mnc));
        let index = known.unwrap_or_else(|| {
            let (tacs, slices) = (Vec::new(), Vec::new());
            networks.push(Network {
                mcc,
                mnc,
                tacs,
                slices,
            });
            networks.len() - 1
        });
        add(&mut networks[index].tacs, cell.tac);
        if let Some(snssai) = snssai(profile) {
            add(&mut networks[index].slices, snssai);
        }
    }
    networks
}

fn check(
    core: &CoreConfig,
    networks: &[Network<'_>],
    taken: &[&CoreConfig],
) -> Result<(), Refusal> {
    let (name, kind) = (&core.name, core.kind);
    let path = format!("/tranche-ran:ran/core[name='{name}']");
    let mut others = taken.iter().filter(|other| other.kind == kind);
    if let Some(other) = others.find(|other| other.address == core.address) {
        let message = format!(
            "core {name} has the address of core {}: two {kind}s of Open5GS need one each",
            other.name
        );
        return Err(Refusal::new(format!("{path}/address"), message).because(Why::BadValue));
    }
    let most = match kind {
        CoreKind::Amf => MAX_PLMNS_AMF,
        CoreKind::Mme => MAX_PLMNS_MME,
    };
    let tais: usize = networks.iter().map(|network| network.tacs.len()).sum();
    let too_many = |count, what, most| {
        let message = format!(
            "core {name} would have {count} {what}; an {kind} of Open5GS has {most} at most"
        );
        Err(Refusal::new(path.clone(), message).because(Why::NoRoom))
    };
    match networks.len() {
        count if count > most => too_many(count, "PLMNs", most),
        _ if tais > MAX_TAIS => too_many(tais, "tracking areas of PLMNs", MAX_TAIS),
        _ => Ok(()),
    }
}

fn amf(core: &CoreConfig, number: u64, networks: &[Network<'_>]) -> String {
    let guami = |network: &Network<'_>| {
        let id = vec![
            ("region", Yaml::Number(REGION)),
            ("set", Yaml::Number(number)),
        ];
        Yaml::Map(vec![
            ("plmn_id", network.plmn_id()),
            ("amf_id", Yaml::Map(id)),
        ])
    };
    let support = |network: &Network<'_>| {
        let slices = network.slices.iter().map(|(sst, sd)| {
            let mut slice = vec![("sst", Yaml::Number((*sst).into()))];
            slice.extend(sd.map(|sd| ("sd", Yaml::text(sd))));
            Yaml::Map(slice)
        });
        Yaml::Map(vec![
            ("plmn_id", network.plmn_id()),
            ("s_nssai", Yaml::List(slices.collect())),
        ])
    };
    let scp = Yaml::Map(vec![("uri", Yaml::text("http://127.0.0.200:7777"))]);
    let sbi = vec![
        ("server", server(core.address, Some(7777))),
        ("client", Yaml::Map(vec![("scp", Yaml::List(vec![scp]))])),
    ];
    let ngap = vec![("server", server(core.address, core.port))];
    let amf = vec![
        ("sbi", Yaml::Map(sbi)),
        ("ngap", Yaml::Map(ngap)),
        ("guami", Yaml::List(networks.iter().map(guami).collect())),
        ("tai", tai(networks)),
        (
            "plmn_support",
            Yaml::List(networks.iter().map(support).collect()),
        ),
        ("security", security("NIA", "NEA")),
        ("network_name", network_name()),
        ("amf_name", Yaml::text(&core.name)),
        ("time", timer("t3512")),
    ];
    let name = &core.name;
    let comment = [
        format!("AMF of Open5GS 2.7 or later, for core {name}: open5gs-amfd -c amf-{name}.yaml"),
        "Not in tranche-ran, so chosen here: amf_id, sbi, security, network_name and time."
            .to_owned(),
    ];
    Yaml::Map(vec![("amf", Yaml::Map(amf))]).document(&comment)
}

fn mme(core: &CoreConfig, number: u64, networks: &[Network<'_>]) -> String {
    let plmns = networks.iter().map(Network::plmn_id).collect();
    let gummei = Yaml::Map(vec![
        ("plmn_id", Yaml::List(plmns)),
        ("mme_gid", Yaml::Number(REGION)),
        ("mme_code", Yaml::Number(number)),
    ]);
    let at = |last: u8| server(IpAddr::from([127, 0, 0, last]), None);
    let client = vec![("sgwc", at(3)), ("smf", at(4))];
    let gtpc = vec![
        ("server", server(core.address, None)),
        ("client", Yaml::Map(client)),
    ];
    let s1ap = vec![("server", server(core.address, core.port))];
    let mme = vec![
        ("freeDiameter", Yaml::text("/etc/freeDiameter/mme.conf")),
        ("s1ap", Yaml::Map(s1ap)),
        ("gtpc", Yaml::Map(gtpc)),
        ("gummei", Yaml::List(vec![gummei])),
        ("tai", tai(networks)),
        ("security", security("EIA", "EEA")),
        ("network_name", network_name()),
        ("mme_name", Yaml::text(&core.name)),
        ("time", timer("t3412")),
    ];
    let name = &core.name;
    let comment = [
        format!("MME of Open5GS 2.7 or later, for core {name}: open5gs-mmed -c mme-{name}.yaml"),
        "Not in tranche-ran, so chosen here: freeDiameter, gtpc, mme_gid, mme_code, security, network_name and time."
            .to_owned(),
    ];
    Yaml::Map(vec![("mme", Yaml::Map(mme))]).document(&comment)
}

/// A list of one endpoint; its usual port where there is none.
fn server(address: IpAddr, port: Option<u16>) -> Yaml {
    let mut endpoint = vec![("address", Yaml::text(address))];
    endpoint.extend(port.map(|port| ("port", Yaml::Number(port.into()))));
    Yaml::List(vec![Yaml::Map(endpoint)])
}

fn tai(networks: &[Network<'_>]) -> Yaml {
    let entry = |network: &Network<'_>| {
        let tacs = network.tacs.iter().map(|tac| Yaml::Number((*tac).into()));
        Yaml::Map(vec![
            ("plmn_id", network.plmn_id()),
            ("tac", Yaml::List(tacs.collect())),
        ])
    };
    Yaml::List(networks.iter().map(entry).collect())
}

/// Integrity without the null algorithm; ciphering with it last, for UEs that have no other.
fn security(integrity: &str, ciphering: &str) -> Yaml {
    let order = |name: &str, numbers: &[u8]| {
        let words = numbers
            .iter()
            .map(|number| Yaml::text(format!("{name}{number}")));
        Yaml::List(words.collect())
    };
    Yaml::Map(vec![
        ("integrity_order", order(integrity, &[2, 1])),
        ("ciphering_order", order(ciphering, &[2, 1, 0])),
    ])
}

fn network_name() -> Yaml {
    Yaml::Map(vec![
        ("full", Yaml::text("Tranche")),
        ("short", Yaml::text("Tranche")),
    ])
}

/// Nine minutes, as the packages have it.
fn timer(name: &'static str) -> Yaml {
    Yaml::Map(vec![(name, Yaml::Map(vec![("value", Yaml::Number(540))]))])
}
