//! Adverts of VRRP as they stand on the wire: versions 2 (RFC 3768) and 3 (RFC 9568).
