"""Print /proc/cpuinfo as Linux would on the processor that this runs on: `processor.py CORES`.

qemu 7.2 shows programs the /proc/cpuinfo of the machine that it runs on, which LiteRT cannot read. Linux writes the
file from the processor's registers; this does the same, for any processor that qemu emulates.
"""

import ctypes
import mmap
import sys

# The bits of AT_HWCAP and AT_HWCAP2 in Linux's arch/arm64/include/uapi/asm/hwcap.h, by their names in /proc/cpuinfo.
AT_HWCAP, AT_HWCAP2 = 16, 26
BITS = {
    AT_HWCAP: "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop "
    "sha3 sm3 sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg",
    AT_HWCAP2: "dcpodp sve2 sveaes svepmull svebitperm svesha3 svesm4 flagm2 frint svei8mm svef32mm svef64mm svebf16 "
    "i8mm bf16 dgh rng bti mte ecv afp rpres mte3 sme smei16i64 smef64f64 smei8i32 smef16f32 smeb16f32 smef32f32 "
    "smefa64 wfxt",
}
READ_MIDR = bytes.fromhex("000038d5 c0035fd6")  # mrs x0, midr_el1; ret


def features() -> list[str]:
    """Return the instruction sets of the processor."""
    read = ctypes.CDLL(None).getauxval
    read.restype, read.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    return [name for word, names in BITS.items() for bit, name in enumerate(names.split()) if read(word) >> bit & 1]


def identity() -> dict[str, int]:
    """Return the fields of the processor's main identification register."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(READ_MIDR)
    code = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    value = code()
    return {
        "implementer": value >> 24 & 0xFF,
        "variant": value >> 20 & 0xF,
        "part": value >> 4 & 0xFFF,
        "revision": value & 0xF,
    }


def describe(core: int) -> str:
    """Return the lines of one core."""
    known = identity()
    return "\n".join(
        (
            f"processor\t: {core}",
            f"Features\t: {' '.join(features())}",
            f"CPU implementer\t: {known['implementer']:#04x}",
            "CPU architecture: 8",
            f"CPU variant\t: {known['variant']:#x}",
            f"CPU part\t: {known['part']:#05x}",
            f"CPU revision\t: {known['revision']}\n",
        )
    )


if __name__ == "__main__":
    print("\n".join(map(describe, range(int(sys.argv[1])))))
