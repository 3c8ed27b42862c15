# SPDX-License-Identifier: Apache-2.0
# Counts single tests in a JUnit file of ctest. A GoogleTest program counts for each of the tests
# that it printed; any other program counts once. Prints, tab-separated:
#   skip NAME REASON        fail NAME        count PASSED FAILED SKIPPED
function plain(text) {
  gsub(/&lt;/, "<", text); gsub(/&gt;/, ">", text); gsub(/&quot;/, "\"", text); gsub(/&apos;/, "'", text)
  gsub(/&amp;/, "\\&", text); gsub(/\t/, " ", text)
  return text
}
function attribute(name,   text) {
  if (!match($0, name "=\"[^\"]*\"")) return ""
  text = substr($0, RSTART, RLENGTH)
  sub(/^[^"]*"/, "", text); sub(/"$/, "", text)
  return plain(text)
}
function begin_case() {
  name = attribute("name"); status = attribute("status")
  message = ""; first_line = ""; reason = ""; in_reason = 0
  ok = bad = left_out = 0
}
function gtest_name() { sub(/^\[[^]]*\] /, ""); sub(/(, where .*)? \([0-9]+ ms\)$/, ""); return plain($0) }
function report_skip(who, why) { print "skip\t" who "\t" (why == "" ? "NO REASON GIVEN" : why); ++left_out }
function end_case(   skipped) {
  skipped = status == "notrun" && message ~ /^SKIP_/
  if (ok + bad + left_out == 0) {
    if (status == "run") ++ok
    else if (skipped) report_skip(name, first_line)
  }
  # A crash, a time-out, a leak report at exit, a program that is not there.
  if (status != "run" && !skipped && bad == 0) { print "fail\t" name; ++bad }
  passed += ok; failed += bad; skips += left_out
}
/<testcase / { begin_case(); next }
/<\/testcase>/ { end_case(); next }
/<skipped / { message = attribute("message"); next }
/<failure / { next }
{
  if (sub(/.*<system-out>/, "")) first_line = plain($0)
  sub(/<\/system-out>$/, "")
}
/^\[       OK \] .* \([0-9]+ ms\)$/ { ++ok; next }
/^\[  FAILED  \] .* \([0-9]+ ms\)$/ { print "fail\t" gtest_name(); ++bad; next }
/^\[  SKIPPED \] .* \([0-9]+ ms\)$/ { report_skip(gtest_name(), reason); in_reason = 0; next }
/: Skipped$/ { reason = ""; in_reason = 1; next }
in_reason && NF { reason = reason (reason == "" ? "" : " ") plain($0) }
END { print "count\t" passed + 0 "\t" failed + 0 "\t" skips + 0 }
