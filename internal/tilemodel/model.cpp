// model.cpp: AMX's tiles in software, behind SIGILL.
#if defined(__x86_64__)
#include <immintrin.h>
#include <signal.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

struct Tile {
  uint32_t rows[16][16];
};

// The state of a thread. Intel SDM vol. 1, section 18.
thread_local Tile tiles[8];
thread_local uint8_t config[64];

int rows_of(int t) { return config[48 + t]; }
int bytes_of(int t) { return config[16 + 2 * t] | config[17 + 2 * t] << 8; }

// configure is LDTILECFG; false stands for its general-protection faults.
bool configure(const uint8_t *from) {
  if (from[0] > 1) return false;
  for (int i = 2; i < 16; i++) {
    if (from[i] != 0) return false;
  }
  for (int t = 0; t < 16; t++) {
    const int bytes = from[16 + 2 * t] | from[17 + 2 * t] << 8, rows = from[48 + t];
    if (bytes > 64 || rows > 16 || (bytes == 0) != (rows == 0) || (t >= 8 && rows != 0)) return false;
  }
  std::memcpy(config, from, sizeof config);
  std::memset(tiles, 0, sizeof tiles);
  return true;
}

// dot is TDPBF16PS as Intel SDM vol. 2 writes it: the even and the odd products of each pair are summed apart, by fused
// multiply-adds that round to the nearest even number and take and give zero for denormals.
__attribute__((target("fma,avx2"))) bool dot(int c, int a, int b) {
  const int depth = bytes_of(a) / 4, columns = bytes_of(c) / 4;
  if (c == a || c == b || a == b || rows_of(a) != rows_of(c) || bytes_of(b) != bytes_of(c) || rows_of(b) != depth)
    return false;
  const unsigned before = _mm_getcsr();
  _mm_setcsr(0x9fc0);  // all exceptions masked, nearest even, denormals are zero both ways
  const auto value = [](uint32_t bits) {
    float f;
    std::memcpy(&f, &bits, sizeof f);
    return f;
  };
  for (int m = 0; m < rows_of(c); m++) {
    float even[16] = {}, odd[16] = {}, was[16];
    for (int k = 0; k < depth; k++) {
      const float low = value(tiles[a].rows[m][k] << 16), high = value(tiles[a].rows[m][k] & 0xffff0000);
      for (int n = 0; n < columns; n++) {
        even[n] = std::fma(low, value(tiles[b].rows[k][n] << 16), even[n]);
        odd[n] = std::fma(high, value(tiles[b].rows[k][n] & 0xffff0000), odd[n]);
      }
    }
    std::memcpy(was, tiles[c].rows[m], sizeof was);
    for (int n = 0; n < columns; n++) was[n] += even[n] + odd[n];
    std::memcpy(tiles[c].rows[m], was, sizeof was);
  }
  _mm_setcsr(before);
  return true;
}

// dot_bytes is TDPBUSD: unsigned bytes of a times signed bytes of b, summed as int32 without saturation.
bool dot_bytes(int c, int a, int b) {
  const int depth = bytes_of(a) / 4, columns = bytes_of(c) / 4;
  if (c == a || c == b || a == b || rows_of(a) != rows_of(c) || bytes_of(b) != bytes_of(c) || rows_of(b) != depth)
    return false;
  for (int m = 0; m < rows_of(c); m++) {
    for (int k = 0; k < depth; k++) {
      for (int n = 0; n < columns; n++) {
        for (int i = 0; i < 32; i += 8) {
          tiles[c].rows[m][n] +=
              static_cast<int32_t>(tiles[a].rows[m][k] >> i & 0xff) * static_cast<int8_t>(tiles[b].rows[k][n] >> i);
        }
      }
    }
  }
  return true;
}

int64_t general(const ucontext_t *u, int number) {
  static const int places[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                               REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  return u->uc_mcontext.gregs[places[number]];
}

// Memory is the operand that ModRM and what follows it name.
struct Memory {
  int64_t base = 0, index = 0;  // the index with its scale: a tile's stride
  int length = 1;               // of ModRM, SIB and displacement

  Memory(const uint8_t *modrm, bool x, bool b, const ucontext_t *u) {
    const int mod = modrm[0] >> 6, rm = modrm[0] & 7;
    const uint8_t *next = modrm + 1;
    if (rm == 4) {
      const uint8_t sib = *next++;
      const int i = (sib >> 3 & 7) | (x ? 8 : 0);
      if (i != 4) index = general(u, i) * (1 << (sib >> 6));
      if ((sib & 7) != 5 || mod != 0) base = general(u, (sib & 7) | (b ? 8 : 0));
    } else if (mod != 0 || rm != 5) {
      base = general(u, rm | (b ? 8 : 0));
    }
    const bool relative = mod == 0 && rm == 5,
               wide = mod == 2 || relative || (mod == 0 && rm == 4 && (modrm[1] & 7) == 5);
    if (mod == 1) base += static_cast<int8_t>(*next++);
    if (wide) {
      int32_t displacement;
      std::memcpy(&displacement, next, sizeof displacement);
      base += displacement;
      next += 4;
    }
    length = static_cast<int>(next - modrm);
    if (relative) base += reinterpret_cast<int64_t>(next);
  }
};

// run does the instruction at the program counter, if it is a tile's: VEX.128.0F38.W0 and one of these opcodes.
bool run(ucontext_t *u) {
  greg_t &pc = u->uc_mcontext.gregs[REG_RIP];
  const auto *code = reinterpret_cast<const uint8_t *>(pc);
  if (code[0] != 0xc4 || (code[1] & 0x1f) != 2 || (code[2] & 0x84) != 0) return false;
  const bool x = !(code[1] & 0x40), b = !(code[1] & 0x20);
  const int prefix = code[2] & 3, opcode = code[3],
            source = (~code[2] >> 3) & 15;  // prefix 0: none, 1: 66, 2: F3, 3: F2
  const int reg = code[4] >> 3 & 7, rm = code[4] & 7;
  const bool registers = code[4] >> 6 == 3;
  int length = 1;
  if (opcode == 0x5c && prefix == 2 && registers) {  // TDPBF16PS reg, rm, vvvv
    if (!dot(reg, rm, source)) return false;
  } else if (opcode == 0x5e && prefix == 1 && registers) {  // TDPBUSD
    if (!dot_bytes(reg, rm, source)) return false;
  } else if (opcode == 0x49 && prefix == 3 && registers) {  // TILEZERO
    std::memset(&tiles[reg], 0, sizeof(Tile));
  } else if (opcode == 0x49 && prefix == 0 && code[4] == 0xc0) {  // TILERELEASE
    std::memset(config, 0, sizeof config);
  } else if (opcode == 0x49 && prefix == 0 && !registers) {
    const Memory m(code + 4, x, b, u);
    length = m.length;
    if (!configure(reinterpret_cast<const uint8_t *>(m.base + m.index))) return false;
  } else if (opcode == 0x4b && prefix != 0 && !registers && rm == 4 &&
             rows_of(reg) != 0) {  // TILELOADD, T1; TILESTORED
    const Memory m(code + 4, x, b, u);
    length = m.length;
    if (prefix != 2) std::memset(&tiles[reg], 0, sizeof(Tile));
    for (int i = 0; i < rows_of(reg); i++) {
      auto *memory = reinterpret_cast<void *>(m.base + i * m.index);
      if (prefix == 2) {
        std::memcpy(memory, tiles[reg].rows[i], bytes_of(reg));
      } else {
        std::memcpy(tiles[reg].rows[i], memory, bytes_of(reg));
      }
    }
  } else {
    return false;
  }
  pc += 4 + length;
  return true;
}

struct sigaction before;
bool on = false;

void handle(int number, siginfo_t *info, void *context) {
  if (run(static_cast<ucontext_t *>(context))) return;
  if (before.sa_flags & SA_SIGINFO && before.sa_sigaction != nullptr) return before.sa_sigaction(number, info, context);
  signal(SIGILL, SIG_DFL);
}

}  // namespace

extern "C" int goclip_tile_model(void) { return on; }

extern "C" void goclip_tile_model_on(int now) {
  if (on == (now != 0)) return;
  on = now != 0;
  struct sigaction action = {};
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  on ? sigaction(SIGILL, &action, &before) : sigaction(SIGILL, &before, nullptr);
}
#else
extern "C" void goclip_tile_model_on(int) {}
#endif
