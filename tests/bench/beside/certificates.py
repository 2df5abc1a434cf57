"""A certificate authority and two certificates of ECDSA P-256, for the other proxies: Envoy takes none of Ed25519, as nodes have."""
import os
import pathlib
import subprocess

# The names in the certificates of the two hops.
NEAR, FAR = "near", "far"


def make(folder):
    """Writes ca.crt, and of each hop NAME.crt, NAME.key and NAME.pem (both); gives the folder."""
    os.makedirs(folder)

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    openssl("ecparam", "-genkey", "-name", "prime256v1", "-out", "ca.key")
    openssl("req", "-x509", "-new", "-key", "ca.key", "-subj", "/CN=ca", "-days", "2", "-out", "ca.crt")
    for name in (NEAR, FAR):
        openssl("ecparam", "-genkey", "-name", "prime256v1", "-out", f"{name}.key")
        openssl("req", "-new", "-key", f"{name}.key", "-subj", f"/CN={name}", "-out", f"{name}.csr")
        pathlib.Path(folder, f"{name}.ext").write_text(f"subjectAltName=DNS:{name},URI:spiffe://bench/{name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                "-extfile", f"{name}.ext", "-out", f"{name}.crt")
        pair = [pathlib.Path(folder, f"{name}.{ending}").read_text() for ending in ("crt", "key")]
        pathlib.Path(folder, f"{name}.pem").write_text("".join(pair))
    return folder
