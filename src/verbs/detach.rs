//! `detach IFACE`: our XDP programs off an interface, at once.

use super::{apply::drop_privileges, attach::detached, run::Run};
use crate::{
    bpf::Store,
    cli::Options,
    config::{Config, IfName, PinName},
    health::Health,
    lock::lock,
    report::{Line, Status},
    step::{Must, Phase},
};

/// Detaches.
pub fn detach(
    config: &Config,
    options: &Options,
    interface: &IfName,
    object: Option<&PinName>,
    program: Option<&PinName>,
) -> Health {
    let mut run = Run::new("detach", options, &config.sources);
    let _locked = match lock() {
        Ok((locked, note)) => {
            run.notes.extend(note);
            locked
        }
        Err(fault) => {
            run.fail("lock", Phase::Settle, Must::Required, fault);
            return run.end(Health::Failed, false);
        }
    };
    let store = Store::new(&config.bpf.root);
    let links = match store.xdp_links() {
        Ok(links) => links,
        Err(fault) => {
            run.fail(format!("detach {interface}"), Phase::Load, Must::Required, fault);
            return run.end(Health::Failed, true);
        }
    };
    let links: Vec<_> = links
        .into_iter()
        .filter(|link| {
            link.interface == *interface
                && object.is_none_or(|o| *o == link.object)
                && program.is_none_or(|p| *p == link.program)
        })
        .collect();
    let mut left = false;
    for link in &links {
        let id = format!("link {}/{}", link.object, link.name);
        match store.detach(link) {
            Ok(()) => run.say(detached(id, format!("detached from {interface}"))),
            Err(fault) => {
                left = true;
                run.fail(id, Phase::Load, Must::Required, fault);
            }
        }
    }
    if links.is_empty() {
        let note = "nothing of ours is attached there".to_owned();
        run.say(Line {
            note,
            ..Line::new(format!("detach {interface}"), Phase::Load, Must::Required, Status::Already)
        });
    }
    if config.objects.values().any(|wish| wish.attaches_to(interface)) {
        run.notes.push(format!("the configuration names {interface}: the next apply attaches again"));
    }
    drop_privileges(&mut run);
    run.end(if left { Health::Failed } else { Health::Healthy }, true)
}
