//! The daemon's config file for a laboratory.

use std::{
    fmt::Write,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use splitter_userspace::config::{ForwardMode, PoolName, Protocol};

use super::{HTTP_PORT, UDP_PORT, addresses::Host, scratch::bpf_folder};

/// A service over all backends of the laboratory, with blue stable at 100 %.
#[derive(Clone, Copy, Debug)]
pub struct ServicePlan {
    /// Its name.
    pub name: &'static str,
    /// Virtual address; decides which addresses of the backends are used.
    pub address: IpAddr,
    /// Virtual port.
    pub port: u16,
    /// TCP goes to the backends' HTTP servers, UDP to their echoes.
    pub protocol: Protocol,
    /// For TCP and UDP alike, so that a test need not wait for minutes.
    pub idle_timeout: Duration,
    /// Time between health checks, if there are to be any (TCP only).
    pub health: Option<Duration>,
    /// How packets get to the backends. In the `dsr` modes the port must be the servers' own.
    pub mode: ForwardMode,
    /// The backends by their addresses of the other family, for `dsr-ipip`.
    pub crossed: bool,
}

/// The whole file, for a daemon that keeps everything in `folder` (see [`Scratch`](super::Scratch)).
pub fn text<'a>(folder: &Path, hosts: impl Iterator<Item = &'a Host>, services: &[ServicePlan]) -> String {
    let hosts: Vec<_> = hosts.collect();
    let mut text = format!(
        "[daemon]\ninterfaces = [\"eth0\", \"eth1\"]\nsocket = {:?}\nstate_dir = {:?}\npin_dir = {:?}\n\
         hash_seed = \"laboratory {}\"\n",
        socket(folder),
        folder.join("state"),
        bpf_folder(folder).join("splitter"),
        std::process::id()
    );
    for service in services {
        service.write(&mut text, &hosts).expect("writing to a string cannot fail");
    }
    text
}

/// The daemon's socket in its folder.
pub fn socket(folder: &Path) -> PathBuf {
    folder.join("splitter.sock")
}

impl ServicePlan {
    fn write(&self, text: &mut String, hosts: &[&Host]) -> std::fmt::Result {
        let (protocol, idle) = (self.protocol_name(), self.idle_timeout.as_millis());
        writeln!(
            text,
            "\n[[service]]\nname = {:?}\naddress = \"{}\"\nport = {}",
            self.name, self.address, self.port
        )?;
        writeln!(
            text,
            "protocol = \"{protocol}\"\nidle_timeout = \"{idle}ms\"\nudp_idle_timeout = \"{idle}ms\""
        )?;
        writeln!(text, "mode = \"{}\"\nstable = \"blue\"", self.mode)?;
        if let Some(interval) = self.health {
            writeln!(text, "\n[service.health]\ninterval = \"{}ms\"", interval.as_millis())?;
        }
        PoolName::ALL.into_iter().try_for_each(|pool| self.write_pool(text, pool, hosts))
    }

    /// Nothing for a pool without hosts.
    fn write_pool(&self, text: &mut String, pool: PoolName, hosts: &[&Host]) -> std::fmt::Result {
        let backends = hosts.iter().filter(|host| host.pool == pool).map(|host| self.backend(host));
        let backends: Vec<_> = backends.collect();
        if backends.is_empty() {
            return Ok(());
        }
        let weight = if pool == PoolName::Blue { 100 } else { 0 };
        writeln!(text, "\n[service.pool.{pool}]\nweight = {weight}\nbackends = [")?;
        backends.iter().try_for_each(|backend| writeln!(text, "    {backend},"))?;
        writeln!(text, "]")
    }

    fn backend(&self, host: &Host) -> String {
        let endpoint = self.endpoint(host);
        format!("{{ address = \"{}\", port = {} }}", endpoint.ip(), endpoint.port())
    }

    /// Where a host serves it.
    pub fn endpoint(&self, host: &Host) -> SocketAddr {
        let [ipv4, ipv6] = host.addresses();
        let port = match self.protocol {
            Protocol::Tcp | Protocol::Both => HTTP_PORT,
            Protocol::Udp => UDP_PORT,
        };
        SocketAddr::new(if self.address.is_ipv4() != self.crossed { ipv4 } else { ipv6 }, port)
    }

    /// Where clients reach it.
    pub fn target(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    fn protocol_name(&self) -> &'static str {
        match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Both => "tcp+udp",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use splitter_userspace::config;

    use super::*;

    fn hosts() -> [Host; 3] {
        [Host::new(PoolName::Blue, 1), Host::new(PoolName::Blue, 2), Host::new(PoolName::Canary, 1)]
    }

    fn plan(name: &'static str, address: &str, protocol: Protocol) -> ServicePlan {
        let address = address.parse().expect("a valid address");
        let health = (protocol == Protocol::Tcp).then_some(Duration::from_millis(500));
        let idle_timeout = Duration::from_millis(1500);
        let (mode, crossed) = (ForwardMode::Dnat, false);
        ServicePlan { name, address, port: 80, protocol, idle_timeout, health, mode, crossed }
    }

    #[test]
    fn the_daemon_takes_the_file() {
        let services =
            [plan("web", "192.0.2.10", Protocol::Tcp), plan("dns6", "2001:db8::53", Protocol::Udp)];
        let text = text(Path::new("/lab"), hosts().iter(), &services);
        let config = config::parse(Path::new("splitter.toml"), &text).expect("no mistake in it");
        assert_eq!(config.daemon.pin_dir, Path::new("/lab/bpf/splitter"));
        let [web, dns6] = &config.services[..] else { panic!("two services, not {:?}", config.services) };
        assert_eq!(web.idle_timeout, Duration::from_millis(1500));
        assert_eq!(web.pools[&PoolName::Blue].backends.len(), 2);
        assert!(!web.pools.contains_key(&PoolName::Green));
        assert_eq!(dns6.pools[&PoolName::Canary].backends[0].port, UDP_PORT);
        assert!(dns6.pools[&PoolName::Canary].backends[0].address.is_ipv6());
    }
}
