# SPDX-License-Identifier: Apache-2.0
if(USERFAULT_SANITIZE)
  add_compile_options(-fsanitize=${USERFAULT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${USERFAULT_SANITIZE})
endif()
