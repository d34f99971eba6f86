# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
# Writes the lists of phrases of conf/refusals as a C table: the file's name without its ending, then its text.
# usage: awk -f refusal-table.awk FILE... > refusal_table.c
BEGIN {
	print "/* Phrases of conf/refusals; written by scripts/refusal-table.awk, not by hand. */"
	print "#include \"plugins/evaluators/common/safe_phrases.h\"\n"
	print "const char *const safe_phrase_table[] = {"
}
FNR == 1 {
	name = FILENAME
	sub(/.*\//, "", name)
	sub(/\.txt$/, "", name)
	print (NR > 1 ? "\t,\n" : "") "\t\"" name "\",\n\t\"\""
}
/^;/ { next }
{
	# Character by character: awks differ in what a backslash in gsub's replacement means.
	out = ""
	for (i = 1; i <= length($0); i++) {
		c = substr($0, i, 1)
		out = out (c == "\\" || c == "\"" || c == "?" ? "\\" : "") c
	}
	print "\t\"" out "\\n\""
}
END { print "\t, NULL\n};" }
