//! The one division of whole numbers that ends a process.
//!
//! ONNX Runtime divides as the graph says, after it looked for a divisor of 0. The smallest number divided by -1 has no
//! quotient of its kind, and an x86 processor stops over it (SIGFPE, which ends the process) where others answer with
//! the smallest number again and go on. No graph may end the process: so it is answered here as others do.

/// Sees to it that such a division goes on with the quotient that wraps round, and a remainder of 0. Where somebody else
/// looks after the signal, or the processor needs nothing, all stays as it is.
pub(super) fn survive() {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    x86::survive();
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod x86 {
    use libc::{REG_RAX, REG_RDX, REG_RIP, SIG_DFL, SIGFPE, c_int, c_void, sigaction, siginfo_t, ucontext_t};

    pub(super) fn survive() {
        // SAFETY: plain numbers and a pointer, for which zero is a value.
        let (mut now, mut ours) =
            unsafe { (std::mem::zeroed::<sigaction>(), std::mem::zeroed::<sigaction>()) };
        ours.sa_sigaction = answer as *const () as usize;
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: both are as the system wants them; `answer` does nothing that a handler may not do.
        unsafe {
            if sigaction(SIGFPE, std::ptr::null(), &raw mut now) == 0 && now.sa_sigaction == SIG_DFL {
                sigaction(SIGFPE, &raw const ours, std::ptr::null_mut());
            }
        }
    }

    /// Answers the division that stopped the thread, if it is the one; else the process ends as it would have.
    extern "C" fn answer(_: c_int, _: *mut siginfo_t, context: *mut c_void) {
        // SAFETY: with SA_SIGINFO the system hands over the thread's registers, which nobody else has meanwhile.
        let registers = unsafe { &mut (*context.cast::<ucontext_t>()).uc_mcontext.gregs };
        let at = registers[REG_RIP as usize] as *const u8;
        // SAFETY: the processor stopped over the instruction there, so all of its bytes can be read; no more are.
        let division = division(|n| unsafe { at.add(n).read() });
        let (low, high) = (registers[REG_RAX as usize], registers[REG_RDX as usize]);
        let quotient = division.and_then(|(_, wide)| smallest(low, high, wide));
        if let (Some((bytes, _)), Some(quotient)) = (division, quotient) {
            registers[REG_RAX as usize] = quotient;
            registers[REG_RDX as usize] = 0;
            registers[REG_RIP as usize] += bytes as i64;
            return;
        }
        // SAFETY: back to what it was; the instruction is tried again, and ends the process.
        unsafe { libc::signal(SIGFPE, SIG_DFL) };
    }

    /// The dividend, where it is the smallest number there is: `low` and `high` are the registers that hold it.
    fn smallest(low: i64, high: i64, wide: bool) -> Option<i64> {
        match wide {
            true => (low == i64::MIN && high == -1).then_some(low),
            // The upper halves of the registers are not part of it, and are cleared.
            false => (low as i32 == i32::MIN && high as i32 == -1).then_some(i64::from(i32::MIN as u32)),
        }
    }

    /// The length in bytes of a signed division of 32 or 64 bits (`idiv`), and whether it is one of 64; `None` for
    /// any other instruction. Intel's manual, volume 2, chapter 2 and IDIV.
    fn division(byte: impl Fn(usize) -> u8) -> Option<(usize, bool)> {
        let prefix = byte(0);
        let has_prefix = prefix & 0xf0 == 0x40;
        let (wide, code) = (has_prefix && prefix & 8 != 0, usize::from(has_prefix));
        if byte(code) != 0xf7 {
            return None;
        }
        let operand = byte(code + 1);
        let (mode, kind, base) = (operand >> 6, operand >> 3 & 7, operand & 7);
        if kind != 7 {
            return None;
        }
        let mut bytes = code + 2;
        if mode != 3 && base == 4 {
            let without_base = mode == 0 && byte(bytes) & 7 == 5;
            bytes += if without_base { 5 } else { 1 };
        }
        bytes += match (mode, base) {
            (0, 5) | (2, _) => 4,
            (1, _) => 1,
            _ => 0,
        };
        Some((bytes, wide))
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::arch::asm;

        #[test]
        fn the_length_of_every_form_is_known() {
            let of = |bytes: &[u8]| division(|n| bytes[n]);
            assert_eq!(of(&[0xf7, 0xf9]), Some((2, false)), "idiv ecx");
            assert_eq!(of(&[0x48, 0xf7, 0xf9]), Some((3, true)), "idiv rcx");
            assert_eq!(of(&[0x41, 0xf7, 0xf8]), Some((3, false)), "idiv r8d");
            assert_eq!(of(&[0x49, 0xf7, 0x3c, 0x24]), Some((4, true)), "idiv qword [r12]");
            assert_eq!(of(&[0x48, 0xf7, 0x7d, 0xf8]), Some((4, true)), "idiv qword [rbp-8]");
            assert_eq!(of(&[0x48, 0xf7, 0x7c, 0xc6, 0x08]), Some((5, true)), "idiv qword [rsi+rax*8+8]");
            assert_eq!(of(&[0x48, 0xf7, 0x3d, 0, 0, 0, 0]), Some((7, true)), "idiv qword [rip+0]");
            assert_eq!(of(&[0xf7, 0xb8, 0, 1, 0, 0]), Some((6, false)), "idiv dword [rax+256]");
            assert_eq!(of(&[0xf7, 0x3c, 0x25, 0, 0, 0, 0]), Some((7, false)), "idiv dword [0]");
            assert_eq!(of(&[0x48, 0xf7, 0xf1]), None, "div rcx");
            assert_eq!(of(&[0xf6, 0xf9]), None, "idiv cl");
        }

        #[test]
        fn the_division_that_has_no_quotient_wraps_round() {
            super::survive();
            let (wide, narrow) = ([-1_i64], [-1_i32]);
            let (mut quotient, mut rest) = (i64::MIN, 1_i64);
            // SAFETY: a division, and what it needs; should nobody answer it, the test ends with the process.
            unsafe {
                asm!("cqo", "idiv qword ptr [{}]", in(reg) wide.as_ptr(), inout("rax") quotient, out("rdx") rest);
            }
            assert_eq!((quotient, rest), (i64::MIN, 0));
            let (mut quotient, mut rest) = (i32::MIN, 1_i32);
            // SAFETY: as above.
            unsafe {
                asm!("cdq", "idiv {:e}", in(reg) narrow[0], inout("eax") quotient, out("edx") rest);
            }
            assert_eq!((quotient, rest), (i32::MIN, 0));
        }
    }
}
