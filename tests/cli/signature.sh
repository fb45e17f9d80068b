. tests/cli/helpers
PROOF=testdata/proof
run audit $PROOF/model --signature $PROOF/p256.sig --public-key $PROOF/p256.pub
run hash $PROOF/model --signature $PROOF/certificate.sig --certificates $PROOF/root.crt
run hash $PROOF/model --signature $PROOF/bad_payload.sig --public-key $PROOF/p256.pub
run hash $PROOF/model --signature $PROOF/bad_payload.sig --public-key $PROOF/p256.pub --json
cp -r $PROOF/model "$T/m"
echo more >"$T/m/more"
run audit "$T/m" --signature $PROOF/shards.sig --public-key $PROOF/p256.pub
run audit "$T/m" --signature $PROOF/shards.sig --public-key $PROOF/p256.pub --ignore-unsigned
run hash "$T/m" --sign $PROOF/p256.pem --signature "$T/m/model.sig"
run hash "$T/m" --signature "$T/m/model.sig" --public-key $PROOF/p256.pub
run hash "$T/m" --sign $PROOF/p256.pem
run hash "$T/m" --sign $PROOF/p256.pub --signature "$T/x.sig"
run hash "$T/m" --signature $PROOF/p256.sig
run hash "$T/m" --public-key $PROOF/p256.pub
run hash "$T/m/model.safetensors" --signature $PROOF/p256.sig --public-key $PROOF/p256.pub
run audit "$T/m" --no-checksums --signature $PROOF/p256.sig --public-key $PROOF/p256.pub
