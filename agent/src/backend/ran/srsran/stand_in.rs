//! A gNB that is none: reads the file at each start and has the remote control, with every trap that the real one has.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
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
    /// It has read its file and answers.
    pub(super) is_up: bool,
    /// How often it was told to end.
    pub(super) quits: u32,
    /// How long it takes from reading its file until it answers.
    pub(super) startup: Duration,
    /// It is stopped: connected, and does nothing.
    pub(super) hangs: bool,
    /// It sends no metrics, and answers.
    pub(super) is_mute: bool,
    /// How many policies it was sent.
    pub(super) asked: u32,
    /// It takes policies and never answers.
    pub(super) stalls: Option<Stall>,
    /// What it answers instead of ending.
    pub(super) stays: Option<&'static str>,
    /// It ends and nobody starts it again.
    pub(super) stays_away: bool,
    /// AMFs refuse.
    pub(super) has_no_amf: bool,
    /// What it answers to policies.
    pub(super) refuses: Option<&'static str>,
    pub(super) commands: Vec<Value>,
}

/// When it stalls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stall {
    /// Before a policy is in force.
    Before,
    /// After it.
    After,
}

/// The process, with whoever starts it again.
pub(super) struct StandIn {
    pub(super) running: Arc<Mutex<Running>>,
    pub(super) address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

const NONE: u64 = 0xff_ffff;
const POLICY: &str = "rrm_policy_ratio_set";
/// How often it looks whether it may go on.
const TICK: Duration = Duration::from_millis(5);

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
    loop {
        // The service manager starts it when it can: without a file it ends at once.
        let started = async {
            loop {
                let text = std::fs::read_to_string(&config).unwrap_or_default();
                if !text.is_empty() && !running.lock().unwrap().stays_away {
                    running.lock().unwrap().load(&text);
                    break;
                }
                sleep(TICK).await;
            }
            let startup = running.lock().unwrap().startup;
            sleep(startup).await;
        };
        tokio::select! {
            () = started => {}
            () = nobody(&listener) => {}
        }
        running.lock().unwrap().is_up = true;
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if connection(stream, &running).await {
                break;
            }
        }
        running.lock().unwrap().is_up = false;
    }
}

/// Who connects is sent away.
async fn nobody(listener: &TcpListener) {
    loop {
        drop(listener.accept().await.unwrap());
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
        while running.lock().unwrap().hangs {
            sleep(TICK).await;
        }
        let out = tokio::select! {
            _ = period.tick() => {
                let running = running.lock().unwrap();
                match is_subscribed && !running.is_mute {
                    true => running.metrics(),
                    false => Vec::new(),
                }
            }
            message = socket.next() => {
                let text = match message {
                    Some(Ok(Message::Text(text))) => text,
                    Some(Ok(Message::Ping(_))) => continue,
                    _ => return false,
                };
                let command: Value = serde_json::from_str(&text).unwrap();
                is_subscribed |= command["cmd"] == "metrics_subscribe";
                let mut running = running.lock().unwrap();
                if command["cmd"] == "quit" {
                    running.quits += 1;
                    match running.stays {
                        Some(words) => vec![json!({ "error": words })],
                        None => return true,
                    }
                } else {
                    running.answer(command)
                }
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

    fn answer(&mut self, command: Value) -> Vec<Value> {
        self.asked += u32::from(command["cmd"] == POLICY);
        let stalls = self.stalls.filter(|_| command["cmd"] == POLICY);
        if stalls == Some(Stall::Before) {
            return Vec::new();
        }
        let answer = self.carry_out(command);
        match stalls {
            Some(_) => Vec::new(),
            None => vec![answer],
        }
    }

    fn carry_out(&mut self, command: Value) -> Value {
        let name = command["cmd"].clone();
        self.commands.push(command.clone());
        if name != POLICY {
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
