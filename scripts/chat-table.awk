# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
# Writes the chat formats of conf/chat as a C table of their texts.
# usage: awk -f chat-table.awk FILE... > chat_table.c
BEGIN {
	print "/* Chat formats of conf/chat; written by scripts/chat-table.awk, not by hand. */"
	print "#include \"engine/text/chat_table.h\"\n"
	print "const char *const cwe_chat_table[] = {"
}
FNR == 1 && NR > 1 { print "\t," }
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
