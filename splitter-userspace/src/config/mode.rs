//! Checks of one service against its forwarding mode: what a mode does not rewrite must be right already.

use std::net::IpAddr;

use super::{
    ForwardMode,
    address::family,
    mistakes::{At, Mistakes},
    service::ServiceDraft,
};

/// Reports what the service's mode cannot do.
pub(super) fn check(service: &ServiceDraft, mistakes: &mut Mistakes<'_>) {
    let Some(mode) = service.mode.as_ref().map(|mode| mode.value) else { return };
    if mode != ForwardMode::DsrIpip {
        check_families(service, mistakes);
    }
    if mode.one_way() {
        check_ports(service, mode, mistakes);
    }
}

fn check_families(service: &ServiceDraft, mistakes: &mut Mistakes<'_>) {
    let Some(wanted) = service.address.as_ref().map(|address| family(address.value)) else { return };
    let addresses = service.backends().filter_map(|backend| backend.address.as_ref());
    for address in addresses.filter(|address: &&At<IpAddr>| family(address.value) != wanted) {
        let message = format!(
            "{} is {} but the service's address is {wanted}: use one family, or mode = \"dsr-ipip\", which puts \
             packets of one into the other",
            address.value,
            family(address.value)
        );
        mistakes.wrong(&address.place, message);
    }
}

/// Nobody rewrites a port on the way, so that all of them are the service's.
fn check_ports(service: &ServiceDraft, mode: ForwardMode, mistakes: &mut Mistakes<'_>) {
    let Some(wanted) = service.port.as_ref().map(|port| port.value) else { return };
    let wrong = |port: &&At<u16>| port.value != wanted;
    for port in service.backends().filter_map(|backend| backend.port.as_ref()).filter(wrong) {
        let message = format!(
            "mode {mode} rewrites no port, so clients' packets arrive for {wanted}, not {}: let the backend listen \
             on {wanted}, or use mode = \"dnat\"",
            port.value
        );
        mistakes.wrong(&port.place, message);
    }
    for port in service.previews.iter().filter_map(|preview| preview.port.as_ref()).filter(wrong) {
        let message = format!(
            "mode {mode} rewrites no port and the backends listen on {wanted}: use port {wanted} and give the \
             preview an address of its own"
        );
        mistakes.wrong(&port.place, message);
    }
}
