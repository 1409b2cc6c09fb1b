#!/bin/bash
set -e
export AWS_DEFAULT_REGION=eu-central-1
ALLOC="eipalloc-0123456789abcdef0"
ENI=$(curl -s http://169.254.169.254/latest/meta-data/network/interfaces/macs/)
logger "taking the address"
aws ec2 associate-address \
    --allocation-id "$ALLOC" \
    --network-interface-id eni-0123456789abcdef0 \
    --private-ip-address 172.31.1.20 \
    --allow-reassociation
systemctl restart nginx
