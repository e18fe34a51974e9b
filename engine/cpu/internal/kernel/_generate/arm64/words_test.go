package main

import "testing"

// TestWords compares each format with words that GNU's assembler made of the same text. The
// registers set every bit of every field.
func TestWords(t *testing.T) {
	for _, c := range []struct {
		got  instruction
		code uint32
		text string
	}{
		{three(fadd, 1, 2, 31), 0x4e3fd441, "FADD V1.4S, V2.4S, V31.4S"},
		{three(fsub, 31, 0, 17), 0x4eb1d41f, "FSUB V31.4S, V0.4S, V17.4S"},
		{three(fmul, 5, 16, 9), 0x6e29de05, "FMUL V5.4S, V16.4S, V9.4S"},
		{three(fmax, 0, 31, 1), 0x4e21f7e0, "FMAX V0.4S, V31.4S, V1.4S"},
		{three(fmin, 30, 29, 28), 0x4ebcf7be, "FMIN V30.4S, V29.4S, V28.4S"},
		{three(fcmgt, 3, 18, 7), 0x6ea7e643, "FCMGT V3.4S, V18.4S, V7.4S"},
		{three(fdiv, 1, 30, 17), 0x6e31ffc1, "FDIV V1.4S, V30.4S, V17.4S"},
		{three(faddp, 31, 2, 20), 0x6e34d45f, "FADDP V31.4S, V2.4S, V20.4S"},
		{two(fsqrt, 29, 3), 0x6ea1f87d, "FSQRT V29.4S, V3.4S"},
		{two(frintn, 31, 1), 0x4e21883f, "FRINTN V31.4S, V1.4S"},
		{two(fcvtns, 2, 30), 0x4e21abc2, "FCVTNS V2.4S, V30.4S"},
		{fmlaElement(0, 1, 2, 0), 0x4f821020, "FMLA V0.4S, V1.4S, V2.S[0]"},
		{fmlaElement(31, 16, 15, 1), 0x4faf121f, "FMLA V31.4S, V16.4S, V15.S[1]"},
		{fmlaElement(7, 30, 31, 2), 0x4f9f1bc7, "FMLA V7.4S, V30.4S, V31.S[2]"},
		{fmlaElement(23, 31, 16, 3), 0x4fb01bf7, "FMLA V23.4S, V31.4S, V16.S[3]"},
		{fcmgtZero(19, 20), 0x4ea0ca93, "FCMGT V19.4S, V20.4S, #0.0"},
		{bic(4, 31, 12), 0x4e6c1fe4, "BIC V4.16B, V31.16B, V12.16B"},
		{cmgtZeroHalves(21, 10), 0x4e608955, "CMGT V21.8H, V10.8H, #0"},
		{shll(1, 30), 0x2e613bc1, "SHLL V1.4S, V30.4H, #16"},
		{shll2(29, 2), 0x6e61385d, "SHLL2 V29.4S, V2.8H, #16"},
		{moviOnes(13), 0x4f03c7ed, "MOVI V13.4S, #0x7f, MSL #8"},
		{bfmmla(31, 1, 17), 0x6e51ec3f, "BFMMLA V31.4S, V1.8H, V17.8H"},
		{bfmmla(1, 30, 2), 0x6e42efc1, "BFMMLA V1.4S, V30.8H, V2.8H"},
		{bfcvtn(31, 5), 0x0ea168bf, "BFCVTN V31.4H, V5.4S"},
		{bfcvtn2(4, 30), 0x4ea16bc4, "BFCVTN2 V4.8H, V30.4S"},
		{indexed(ldr, 0, 1, 2), 0x3ce26820, "LDR Q0, [X1, X2]"},
		{indexed(ldr, 31, 25, 19), 0x3cf36b3f, "LDR Q31, [X25, X19]"},
		{indexed(str, 30, 9, 22), 0x3cb6693e, "STR Q30, [X9, X22]"},
		{indexed(str, 1, 22, 9), 0x3ca96ac1, "STR Q1, [X22, X9]"},
	} {
		if c.got.code != c.code || c.got.text != c.text {
			t.Errorf("%s is 0x%08x, want %s, 0x%08x", c.got.text, c.got.code, c.text, c.code)
		}
	}
}
