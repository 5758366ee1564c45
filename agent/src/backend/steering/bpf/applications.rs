//! Health checks of real applications in another network namespace: one with an address that serves HTTP, and one that passes
//! frames on and has none. They hang with their ports up.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::tests::{Rig, enter, open, run, sh};
use crate::backend::steering::suite::health::{config, fast, until_down, until_it_goes};
use crate::backend::steering::suite::{self, base, chain, change, configure, eventually, seen};
use crate::backend::steering::{
    Connection, DownBy, Ends, HealthCheck, OnFailure, Request, SteeringConfig, SteeringState,
    present,
};

const HTTP: u16 = 8080;

/// An application that runs while this lives.
pub(super) struct Application {
    is_hung: Arc<AtomicBool>,
}

impl Application {
    pub(super) fn hang(&self, is_hung: bool) {
        self.is_hung.store(is_hung, Ordering::Relaxed);
    }

    /// One that serves HTTP at a port of the rig. While it hangs its system takes connections, and nobody answers.
    pub(super) fn with_http(prefix: &str, port: &str) -> (Self, HealthCheck) {
        let (ends, to) = address(prefix, port);
        let listener = within(&format!("{prefix}f"), move || {
            TcpListener::bind((to, HTTP)).unwrap()
        });
        listener.set_nonblocking(true).unwrap();
        let mut held = Vec::new();
        let application = Self::serve(move |is_hung| {
            if !is_hung {
                held.clear();
            }
            let Ok((mut stream, _)) = listener.accept() else {
                return;
            };
            if is_hung {
                return held.push(stream);
            }
            drop(stream.read(&mut [0; 1024]));
            drop(stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n"));
        });
        let check = HealthCheck {
            http: Some(Request {
                ends,
                destination_port: HTTP,
                path: "/".to_owned(),
            }),
            ..HealthCheck::default()
        };
        (application, check)
    }

    /// One between two ports, that passes frames on without looking at them.
    fn wire(prefix: &str, port: &str, return_port: &str) -> Self {
        let [from, to] = [port, return_port].map(|port| open(&format!("{prefix}f"), port));
        Self::serve(move |is_hung| {
            let mut buffer = [0; 2000];
            while let Ok(length) = (&from).read(&mut buffer) {
                if !is_hung && buffer[12..14] == [0x88, 0xb5] {
                    drop((&to).write(&buffer[..length]));
                }
            }
        })
    }

    /// Does its work again and again until nobody holds the application any more.
    fn serve(mut work: impl FnMut(bool) + Send + 'static) -> Self {
        let is_hung = Arc::new(AtomicBool::new(false));
        let alive = Arc::downgrade(&is_hung);
        std::thread::spawn(move || {
            while let Some(is_hung) = alive.upgrade() {
                work(is_hung.load(Ordering::Relaxed));
                drop(is_hung);
                std::thread::park_timeout(Duration::from_millis(1));
            }
        });
        Self { is_hung }
    }
}

/// What a thread in a namespace makes.
fn within<T: Send + 'static>(namespace: &str, make: impl FnOnce() -> T + Send + 'static) -> T {
    let namespace = namespace.to_owned();
    let made = std::thread::spawn(move || {
        enter(&namespace).unwrap();
        make()
    });
    made.join().unwrap()
}

/// Gives both ends of a port an address.
fn address(prefix: &str, port: &str) -> (Ends, IpAddr) {
    let net = 70 + suite::PORTS.iter().position(|one| *one == port).unwrap();
    sh(&format!(
        "ip -n {prefix}n address add 10.{net}.0.1/24 dev {port}
         ip -n {prefix}f address add 10.{net}.0.2/24 dev {port}"
    ));
    let ends = Ends {
        destination_address: format!("10.{net}.0.2").parse().unwrap(),
        source_address: format!("10.{net}.0.1").parse().unwrap(),
    };
    (ends, ends.destination_address)
}

/// The frame is put in at `a1` and comes back at `a2`.
#[test]
fn an_application_without_an_address_has_to_let_frames_through() {
    run(async |rig| {
        let wire = Application::wire(&rig.prefix, "a1", "a2");
        let check = HealthCheck {
            pass_through: present(),
            ..HealthCheck::default()
        };
        let mut config = config(None, OnFailure::Bypass);
        config.chains[0].applications.remove(0);
        let application = &mut config.chains[0].applications[0];
        application.return_port = Some("a2".to_owned());
        application.health_check = Some(fast(check));
        configure(rig, &config).await;
        let is_well = |state: &SteeringState| {
            let one = &state.chains[0].applications[0];
            one.checked_at.is_some() && one.condition.is_up
        };
        eventually(rig, is_well).await;
        wire.hang(true);
        until_down(rig, 0, DownBy::HealthCheck).await;
        until_it_goes(rig, Some("p2")).await;
        wire.hang(false);
        eventually(rig, is_well).await;
        until_it_goes(rig, Some("a1")).await;
    });
}

/// What an application at `a0` is after its first probe: why it is down, or that it is not.
async fn verdict(rig: &mut Rig, before: &mut SteeringConfig, check: HealthCheck) -> Option<String> {
    let mut config = base();
    config.chains.push(chain(OnFailure::Bypass));
    config.chains[0].applications[0].health_check = Some(HealthCheck {
        // For a machine that is busy; the first result alone decides.
        interval: 60_000,
        timeout: 20_000,
        ..check
    });
    change(rig, before, &config).await.unwrap();
    *before = config;
    eventually(rig, |state| {
        state.chains[0].applications[0].checked_at.is_some()
    })
    .await;
    let state = seen(rig).await;
    let down = state.chains[0].applications[0].condition.down.clone();
    down.map(|down| down.reason)
}

#[test]
fn each_probe_says_what_it_finds() {
    run(async |rig| {
        let (_application, http) = Application::with_http(&rig.prefix, "a0");
        let request = http.http.clone().unwrap();
        let (ends, before) = (request.ends, &mut SteeringConfig::default());
        let with_path = |ends: Ends, port: u16| HealthCheck {
            http: Some(Request {
                ends,
                destination_port: port,
                path: "/".to_owned(),
            }),
            ..HealthCheck::default()
        };
        let tcp = |ends: Ends, port: u16| HealthCheck {
            tcp: Some(Connection {
                ends,
                destination_port: port,
            }),
            ..HealthCheck::default()
        };
        let echo = |ends: Ends| HealthCheck {
            icmp_echo: Some(ends),
            ..HealthCheck::default()
        };
        for well in [http, tcp(ends, HTTP), echo(ends)] {
            assert_eq!(verdict(rig, before, well).await, None);
        }
        let refused = "10.73.0.2:81 refuses the connection";
        for check in [tcp(ends, 81), with_path(ends, 81)] {
            assert_eq!(verdict(rig, before, check).await.unwrap(), refused);
        }
        let from = |source: &str| Ends {
            source_address: source.parse().unwrap(),
            ..ends
        };
        assert_eq!(
            verdict(rig, before, echo(from("10.73.0.9"))).await.unwrap(),
            "this node has no address 10.73.0.9"
        );
    });
}

#[test]
fn an_application_is_asked_over_ipv6_too() {
    run(async |rig| {
        for (end, address) in [("n", "fd73::1"), ("f", "fd73::2")] {
            let name = format!("{}{end}", rig.prefix);
            sh(&format!(
                "ip netns exec {name} sh -c 'echo 0 > /proc/sys/net/ipv6/conf/a0/disable_ipv6'
                 ip -n {name} address add {address}/64 dev a0 nodad"
            ));
        }
        let ends = Ends {
            destination_address: "fd73::2".parse().unwrap(),
            source_address: "fd73::1".parse().unwrap(),
        };
        let echo = HealthCheck {
            icmp_echo: Some(ends),
            ..HealthCheck::default()
        };
        let tcp = HealthCheck {
            tcp: Some(Connection {
                ends,
                destination_port: 81,
            }),
            ..HealthCheck::default()
        };
        let before = &mut SteeringConfig::default();
        assert_eq!(verdict(rig, before, echo).await, None);
        assert_eq!(
            verdict(rig, before, tcp).await.unwrap(),
            "[fd73::2]:81 refuses the connection"
        );
    });
}
