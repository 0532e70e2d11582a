//! Frames as they are on a host's cable: sent and received past its network stack.

use std::{
    ffi::CString,
    io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::Namespace;

/// No answer takes longer.
const LIMIT: Duration = Duration::from_secs(5);
/// No frame of the laboratory is longer.
const MOST: usize = 2048;
/// Bytes of room for what the kernel tells about a frame.
const CONTROL: u8 = 128;
/// The Ethernet addresses, behind which tags stand.
const ADDRESSES: usize = 12;

/// A packet socket on one device.
pub struct Wire(OwnedFd);

impl Wire {
    /// On `device` of the namespace.
    pub fn open(namespace: &Namespace, device: &str) -> Result<Self> {
        let socket = namespace.run(|| open(device))?;
        Ok(Self(socket.with_context(|| format!("cannot open a packet socket on {device}"))?))
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        // SAFETY: the frame lives and has this many bytes.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        checked(sent).context("cannot send a frame")?;
        Ok(())
    }

    /// The first frame from now on that `wanted` takes, with its tags.
    pub fn receive(&self, wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
        let begun = Instant::now();
        while begun.elapsed() < LIMIT {
            match self.next() {
                Ok(frame) if wanted(&frame) => return Ok(frame),
                Ok(_) => {}
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
                Err(cause) => return Err(cause).context("cannot receive a frame"),
            }
        }
        bail!("no such frame came within {LIMIT:?}")
    }

    fn next(&self) -> io::Result<Vec<u8>> {
        let mut frame = vec![0_u8; MOST];
        let mut control = [0_u64; CONTROL as usize / 8];
        let mut vector = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
        // SAFETY: a message header of zeros is an empty one.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        // Its type differs between C libraries.
        message.msg_controllen = CONTROL.into();
        // SAFETY: the header points to buffers that outlive the call, with their sizes.
        let length = checked(unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut message, 0) })?;
        frame.truncate(length);
        if let Some(tag) = stripped_tag(&message) {
            frame.splice(ADDRESSES..ADDRESSES, tag);
        }
        Ok(frame)
    }
}

fn open(device: &str) -> Result<OwnedFd> {
    let all = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: no pointer is involved.
    let socket =
        checked(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, all.into()) }
            as isize)?;
    // SAFETY: the socket is new and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket as i32) };
    let name = CString::new(device)?;
    // SAFETY: the name ends with a zero.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    // SAFETY: an address of zeros is valid.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = all;
    address.sll_ifindex = i32::try_from(index)?;
    let length = mem::size_of_val(&address) as u32;
    // SAFETY: the address has that length.
    checked(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) } as isize)?;
    set(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1_i32)?;
    set(&socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &libc::timeval { tv_sec: 0, tv_usec: 100_000 })?;
    Ok(socket)
}

fn set<T>(socket: &OwnedFd, level: i32, option: i32, value: &T) -> Result<()> {
    let length = size_of::<T>() as u32;
    // SAFETY: the value has that length.
    let done =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, ptr::from_ref(value).cast(), length) };
    checked(done as isize)?;
    Ok(())
}

/// The kernel takes the outermost tag off and says so beside the frame.
fn stripped_tag(message: &libc::msghdr) -> Option<[u8; 4]> {
    // SAFETY: the kernel has filled in the header, and its control buffer lives.
    let header = unsafe { libc::CMSG_FIRSTHDR(message).as_ref() }?;
    if header.cmsg_level != libc::SOL_PACKET || header.cmsg_type != libc::PACKET_AUXDATA {
        return None;
    }
    // SAFETY: this is what the kernel puts behind such a header.
    let data = unsafe { libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned() };
    if data.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let protocol =
        if data.tp_status & libc::TP_STATUS_VLAN_TPID_VALID == 0 { 0x8100 } else { data.tp_vlan_tpid };
    let ([a, b], [c, d]) = (protocol.to_be_bytes(), data.tp_vlan_tci.to_be_bytes());
    Some([a, b, c, d])
}

fn checked(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
