#!/bin/bash
EIP=203.0.113.74 # the Elastic IP
INSTANCE_ID=i-010d3d18ec00cd116 # this host

/usr/bin/aws ec2 disassociate-address --public-ip $EIP
/usr/bin/aws ec2 associate-address --public-ip $EIP --instance-id $INSTANCE_ID
