//! What a veth needs to take packets that XDP redirects into it.
//!
//! The receiving end must poll (NAPI). Since Linux 5.13 (commit d3256efd8e8b) GRO makes it, which the topology turns on;
//! before, only an XDP program of its own did.

use std::path::Path;

use anyhow::Result;

use super::{Topology, xdp};

/// The first kernel, major and minor, where GRO is enough.
const GRO_IS_ENOUGH: (u32, u32) = (5, 13);

impl Topology {
    /// On an old kernel, puts a program on the ends that the load balancer redirects into. `bpf`: a BPF file system.
    pub(super) fn take_redirects(&self, bpf: &Path) -> Result<()> {
        if running() >= GRO_IS_ENOUGH {
            return Ok(());
        }
        xdp::attach_pass(&self.net, "lb", bpf)?;
        self.take_returns(bpf)
    }

    /// Puts a program on the client's end of its cable, which takes what XDP sends back only if it has one as well.
    pub fn take_returns(&self, bpf: &Path) -> Result<()> {
        xdp::attach_pass(&self.client, "eth0", bpf)
    }
}

/// The kernel that runs, major and minor.
fn running() -> (u32, u32) {
    version(&rustix::system::uname().release().to_string_lossy())
}

fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn releases_begin_with_two_numbers() {
        assert_eq!(version("5.10.0-46-amd64"), (5, 10));
        assert_eq!(version("6.12.118+deb13-amd64"), (6, 12));
    }
}
