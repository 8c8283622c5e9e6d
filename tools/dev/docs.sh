# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The API pages, in build/docs: cpp from the headers, python from the docstrings, an index of both
# and of the pages in docs/. A public name without documentation is an error.

DOCS=build/docs

write_docs() {
  mkdir -p "$ROOT/$DOCS"
  write_cpp_docs
  write_python_docs
  python3 "$ROOT/tools/docs/index.py" "$ROOT" "$ROOT/$DOCS"
  say "API pages: $ROOT/$DOCS/index.html"
}

write_cpp_docs() (
  cd "$ROOT" || exit
  rm -rf "$DOCS/cpp" "$DOCS/cpp-xml"
  doxygen tools/docs/Doxyfile || die "the C++ API pages: see above"
  python3 tools/docs/undocumented.py "$DOCS/cpp-xml" || die "undocumented C++ names: see above"
)

# pdoc reads sources: from the stubs of an extension module it has the types that the module itself
# does not tell. That they are the module's is checked by the tests of the package.
write_python_docs() (
  cd "$ROOT" || exit
  rm -rf "$DOCS/python" "$DOCS/python-source"
  if [[ ! -d python/echelon ]]; then
    say "No Python package here: C++ alone"
    return
  fi
  install_missing "${PACKAGES_FOR_PYTHON[@]}"
  pip_install "${PYTHON_TO_RUN[@]}"
  pip_install 'pdoc>=14,<17'
  copy_with_stubs_as_sources python/echelon "$DOCS/python-source"
  export PYTHONPATH=$DOCS/python-source
  "$PYTHON" tools/docs/python_names.py echelon || die "undocumented Python names: see above"
  "$PYTHON" -m pdoc --no-show-source --output-directory "$DOCS/python" echelon
)

# copy_with_stubs_as_sources PACKAGE FOLDER
copy_with_stubs_as_sources() {
  mkdir -p "$2"
  cp -r "$1" "$2"
  local stub
  while read -r stub; do
    [[ -e ${stub%i} ]] || sed '1i from __future__ import annotations' "$stub" >"${stub%i}"
    rm "$stub"
  done < <(find "$2" -name '*.pyi')
}
