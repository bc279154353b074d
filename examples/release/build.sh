#!/bin/sh
# Build one runnable file, out/greeter-$VERSION.pyz, and print what was built as JSON.
set -eu
rm -rf out/build
mkdir -p out/build
cp -R package/greeter out/build/
if [ "$BROKEN" = true ]; then
    echo 'raise SystemExit("this release does not start")' >> out/build/greeter/__init__.py
fi
file="out/greeter-$VERSION.pyz"
python3 -m zipapp out/build --main greeter.__main__:main --output "$file"
printf '{"file": "%s", "sha256": "%s"}\n' "$file" "$(sha256sum "$file" | cut -d ' ' -f 1)"
