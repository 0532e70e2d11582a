//! What every object needs: a place for panics, which do not happen, and a licence.

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

// The program calls helpers that GPL-compatible programs alone may call; the crate's own licence stays dual.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
