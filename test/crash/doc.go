// Package crash has no code, only tests: they kill `ceo restore` wherever it matters, take the power away, and fill the
// disk, and look at what is left (I1, I2, I21, P13, P27). They need root, for loop devices and mounts, and a real etcd.
package crash
