//! A gNB that is none: reads the file at each start and has the remote control, with every trap that the real one has.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::task::AbortOnDropHandle;

/// Ratios of a slice: minimum, maximum, dedicated.
pub(super) type Ratios = (u64, u64, u64);

/// What the gNB has in force.
#[derive(Debug, Default)]
pub(super) struct Running {
    pub(super) starts: u32,
    pci: Option<u16>,
    plmns: Vec<String>,
    /// By SST and SD.
    pub(super) slices: BTreeMap<(u64, u64), Ratios>,
    pub(super) ues: usize,
    /// It ends and nobody starts it again.
    pub(super) stays_away: bool,
    /// AMFs refuse.
    pub(super) has_no_amf: bool,
    /// What it answers to policies.
    pub(super) refuses: Option<&'static str>,
    pub(super) commands: Vec<Value>,
}

/// The process, with whoever starts it again.
pub(super) struct StandIn {
    pub(super) running: Arc<Mutex<Running>>,
    pub(super) address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

const NONE: u64 = 0xff_ffff;

impl StandIn {
    pub(super) async fn start(config: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let running = Arc::<Mutex<Running>>::default();
        let task = serve(listener, config, Arc::clone(&running));
        Self {
            address,
            _task: AbortOnDropHandle::new(tokio::spawn(task)),
            running,
        }
    }
}

async fn serve(listener: TcpListener, config: PathBuf, running: Arc<Mutex<Running>>) {
    let mut has_ended = true;
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        if has_ended {
            // The service manager starts it when it can: without a file it ends at once.
            let text = std::fs::read_to_string(&config).unwrap_or_default();
            if text.is_empty() || running.lock().unwrap().stays_away {
                continue;
            }
            running.lock().unwrap().load(&text);
        }
        has_ended = connection(stream, &running).await;
    }
}

/// Whether it was told to end.
async fn connection(stream: TcpStream, running: &Mutex<Running>) -> bool {
    let Ok(mut socket) = accept_async(stream).await else {
        return false;
    };
    let mut period = tokio::time::interval(Duration::from_millis(20));
    let mut is_subscribed = false;
    loop {
        let out = tokio::select! {
            _ = period.tick(), if is_subscribed => running.lock().unwrap().metrics(),
            message = socket.next() => {
                let Some(Ok(Message::Text(text))) = message else { return false };
                let command: Value = serde_json::from_str(&text).unwrap();
                is_subscribed |= command["cmd"] == "metrics_subscribe";
                if command["cmd"] == "quit" {
                    return true;
                }
                vec![running.lock().unwrap().answer(command)]
            }
        };
        for message in out {
            if socket
                .send(Message::text(message.to_string()))
                .await
                .is_err()
            {
                return false;
            }
        }
    }
}

impl Running {
    /// Starts with a file: a reader of what the agent writes, and no more.
    fn load(&mut self, text: &str) {
        self.starts += 1;
        self.slices.clear();
        self.plmns.clear();
        let cell = text.split("cell_cfg:").nth(1).unwrap();
        let mut slice = (0, NONE);
        for line in cell.lines().take_while(|line| *line != "remote_control:") {
            let (key, value) = match line.trim().trim_start_matches("- ").split_once(": ") {
                Some((key, value)) => (key, value.trim_matches('"')),
                None => {
                    let plmn = line.trim().trim_start_matches("- ").trim_matches('"');
                    if !plmn.is_empty() && !plmn.ends_with(':') {
                        self.plmns.push(plmn.to_owned());
                    }
                    continue;
                }
            };
            let number = || value.parse::<u64>().unwrap();
            match key {
                "pci" => self.pci = Some(value.parse().unwrap()),
                "plmn" => self.plmns.push(value.to_owned()),
                "sst" => slice = (number(), NONE),
                "sd" => slice.1 = number(),
                "min_prb_policy_ratio" => self.slices.entry(slice).or_default().0 = number(),
                "max_prb_policy_ratio" => self.slices.entry(slice).or_default().1 = number(),
                "ded_prb_policy_ratio" => self.slices.entry(slice).or_default().2 = number(),
                _ => {}
            }
        }
    }

    fn metrics(&self) -> Vec<Value> {
        let ues: Vec<Value> = (0..self.ues).map(|rnti| json!({ "rnti": rnti })).collect();
        let plmns = self.plmns.iter().map(|plmn| format!("{plmn}, "));
        let plmns: String = plmns.collect();
        vec![
            json!({ "cells": [{ "cell_metrics": { "pci": self.pci }, "ue_list": ues }] }),
            json!({ "cu-cp": { "ngaps": { "ngap": [{
                "amf_name": "amf", "connected": !self.has_no_amf,
                "supported_plmns": format!("[ {plmns}]"),
            }] } } }),
        ]
    }

    fn answer(&mut self, command: Value) -> Value {
        let name = command["cmd"].clone();
        self.commands.push(command.clone());
        if name != "rrm_policy_ratio_set" {
            return json!({ "cmd": name, "timestamp": "now" });
        }
        if let Some(words) = self.refuses {
            return json!({ "error": words });
        }
        let policies = &command["policies"];
        if !policies.is_object() {
            return json!({ "error": "policies is no object" });
        }
        let min = policies["min_prb_policy_ratio"].as_u64();
        let max = policies["max_prb_policy_ratio"].as_u64();
        for member in policies["rRMPolicyMemberList"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let sd = member["sd"].as_u64().unwrap_or(NONE);
            let slice = (member["sst"].as_u64().unwrap_or(0), sd);
            // What is missing is reset; an unknown slice or a minimum above the maximum is a warning in its log and
            // nothing else; the dedicated ratio is not looked at.
            let (min, max) = (min.unwrap_or(0), max.unwrap_or(100));
            if let Some(ratios) = self.slices.get_mut(&slice).filter(|_| min <= max) {
                (ratios.0, ratios.1) = (min, max);
            }
        }
        json!({ "cmd": name, "timestamp": "now" })
    }
}
