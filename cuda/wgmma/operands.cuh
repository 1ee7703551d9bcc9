// The text and the operand lists of wgmma. Inline assembly has to name each register that an
// instruction adds to, in its text and among its operands; no loop or template can write these lists,
// so they stand here once, each built from shorter ones:
//   FEWBIT_NAMES_n              "%0,%1, .. %(n-1)", for the text
//   FEWBIT_SUMS_n(type, d, i)   type(d[i]), .. type(d[i+n-1]), for the operands
#pragma once

// The instruction of the given shape and types; `a`, `b` and `accumulate` are names of operands, and
// `scales` what follows them for 16-bit elements.
#define FEWBIT_WGMMA(shape, sums, a, b, accumulate, scales) \
  "{\n\t.reg .pred p;\n\tsetp.ne.b32 p, " accumulate        \
  ", 0;\n\t"                                                \
  "wgmma.mma_async.sync.aligned." shape " {" sums "}, " a ", " b ", p" scales ";\n\t}"

// The four registers of an A that is not in shared memory.
#define FEWBIT_A(a) "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3])

#define FEWBIT_NAMES_8 "%0,%1,%2,%3,%4,%5,%6,%7"
#define FEWBIT_NAMES_16 \
  FEWBIT_NAMES_8        \
  ",%8,%9,%10,%11,%12,%13,%14,%15"
#define FEWBIT_NAMES_32 \
  FEWBIT_NAMES_16       \
  ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define FEWBIT_NAMES_40 \
  FEWBIT_NAMES_32       \
  ",%32,%33,%34,%35,%36,%37,%38,%39"
#define FEWBIT_NAMES_48 \
  FEWBIT_NAMES_40       \
  ",%40,%41,%42,%43,%44,%45,%46,%47"
#define FEWBIT_NAMES_64 \
  FEWBIT_NAMES_48       \
  ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define FEWBIT_NAMES_80 \
  FEWBIT_NAMES_64       \
  ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79"
#define FEWBIT_NAMES_96 \
  FEWBIT_NAMES_80       \
  ",%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
#define FEWBIT_NAMES_104 \
  FEWBIT_NAMES_96        \
  ",%96,%97,%98,%99,%100,%101,%102,%103"
#define FEWBIT_NAMES_128                                                             \
  FEWBIT_NAMES_104                                                                   \
  ",%104,%105,%106,%107,%108,%109,%110,%111,%112,%113,%114,%115,%116,%117,%118,%119" \
  ",%120,%121,%122,%123,%124,%125,%126,%127"

#define FEWBIT_SUMS_8(type, d, i)                                                             \
  type(d[i]), type(d[i + 1]), type(d[i + 2]), type(d[i + 3]), type(d[i + 4]), type(d[i + 5]), \
      type(d[i + 6]), type(d[i + 7])
#define FEWBIT_SUMS_16(type, d, i) FEWBIT_SUMS_8(type, d, i), FEWBIT_SUMS_8(type, d, i + 8)
#define FEWBIT_SUMS_32(type, d, i) FEWBIT_SUMS_16(type, d, i), FEWBIT_SUMS_16(type, d, i + 16)
#define FEWBIT_SUMS_40(type, d, i) FEWBIT_SUMS_32(type, d, i), FEWBIT_SUMS_8(type, d, i + 32)
#define FEWBIT_SUMS_48(type, d, i) FEWBIT_SUMS_32(type, d, i), FEWBIT_SUMS_16(type, d, i + 32)
#define FEWBIT_SUMS_64(type, d, i) FEWBIT_SUMS_32(type, d, i), FEWBIT_SUMS_32(type, d, i + 32)
#define FEWBIT_SUMS_80(type, d, i) FEWBIT_SUMS_64(type, d, i), FEWBIT_SUMS_16(type, d, i + 64)
#define FEWBIT_SUMS_96(type, d, i) FEWBIT_SUMS_64(type, d, i), FEWBIT_SUMS_32(type, d, i + 64)
#define FEWBIT_SUMS_104(type, d, i) FEWBIT_SUMS_64(type, d, i), FEWBIT_SUMS_40(type, d, i + 64)
#define FEWBIT_SUMS_128(type, d, i) FEWBIT_SUMS_64(type, d, i), FEWBIT_SUMS_64(type, d, i + 64)
